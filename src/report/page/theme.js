// The colour theme: automatic, light or dark, by the button #theme. Keeps the floating note in place as well.
'use strict';
(() => {
  const {byId} = moxie;
  const themes = [['', '◐ Auto', 'automatic'], ['light', '☀ Light', 'light'], ['dark', '☾ Dark', 'dark']];
  let theme = 0;

  // Calls `redraw` whenever colours that a script has drawn must change.
  moxie.watchTheme = (redraw) => {
    byId('theme').addEventListener('click', () => {
      theme = (theme + 1) % themes.length;
      if (themes[theme][0]) document.documentElement.dataset.theme = themes[theme][0];
      else delete document.documentElement.dataset.theme;
      byId('theme').textContent = themes[theme][1];
      byId('theme').setAttribute('aria-label', `Colour theme: ${themes[theme][2]}. Change`);
      redraw();
    });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
    addEventListener('scroll', moxie.placeTip, {passive: true, capture: true});  // of the window or any part
  };
})();
