// Small tools of the page: elements, numbers, colours, the floating note. Knows nothing of traces but expert numbers.
'use strict';
(() => {
  const byId = (id) => document.getElementById(id);

  // An element; text becomes text nodes only, so nothing from the trace is ever read as markup.
  function element(tag, attributes = {}, ...children) {
    const svg = ['svg', 'rect', 'line', 'text', 'g', 'path'].includes(tag);
    const made = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === 'style') Object.assign(made.style, value);
      else if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  const percent = (part) => (part === 0 ? '0%' : part < 0.0995 ? (100 * part).toFixed(2) + '%' : (100 * part).toFixed(1) + '%');
  const count = (n) => n.toLocaleString('en-US');
  const decimal = (x) => (x === 0 ? '0' : Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 0.1 ? x.toFixed(2) : x.toPrecision(2));
  const times = (x) => x.toFixed(x < 9.95 ? 1 : 0) + '×';
  // A token as a label: an empty one and spaces stay visible.
  const label = (text) => (text === '' ? '∅' : text.replaceAll(' ', '␣'));

  const isDark = () => {
    const forced = document.documentElement.dataset.theme;
    return forced ? forced === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  };

  // OKLCH to sRGB (Ottosson 2020): steps of equal lightness look equal. Hue in degrees.
  function oklch(lightness, chroma, hue, alpha = 1) {
    const a = chroma * Math.cos(hue * Math.PI / 180), b = chroma * Math.sin(hue * Math.PI / 180);
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3;
    const channel = (x) => {
      const bounded = Math.min(1, Math.max(0, x));
      return Math.round(255 * (bounded <= 0.0031308 ? 12.92 * bounded : 1.055 * bounded ** (1 / 2.4) - 0.055));
    };
    const rgb = [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
                 -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
                 -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s].map(channel);
    return `rgb(${rgb.join(' ')} / ${alpha})`;
  }

  // An expert's own colour: hues a golden angle apart, and three lightnesses for eyes that see fewer hues.
  function expertColour(expert, alpha = 1) {
    const hue = (expert * 137.508 + 20) % 360, step = expert % 3;
    return isDark() ? oklch(0.36 + 0.07 * step, 0.10, hue, alpha) : oklch(0.91 - 0.07 * step, 0.075, hue, alpha);
  }

  // The same without text on it: stronger, since a band is small.
  function bandColour(expert) {
    const hue = (expert * 137.508 + 20) % 360, step = expert % 3;
    return isDark() ? oklch(0.50 + 0.11 * step, 0.12, hue) : oklch(0.84 - 0.11 * step, 0.11, hue);
  }

  // 0..1 to a colour that moves away from the background in lightness all the way, in both themes.
  function heat(part) {
    const x = Math.min(1, Math.max(0, part));
    return isDark() ? oklch(0.25 + 0.66 * x, 0.05 + 0.05 * Math.sin(Math.PI * x), 285 - 190 * x)
                    : oklch(0.965 - 0.66 * x, 0.025 + 0.105 * x, 100 + 165 * Math.sqrt(x));
  }

  const tip = byId('tip');
  let anchorOf = null;  // gives the rectangle in the window the note belongs to
  function showTip(anchor, ...children) {
    anchorOf = anchor;
    tip.replaceChildren(...children);
    tip.hidden = false;
    placeTip();
  }
  function placeTip() {  // again when something scrolls: moving the focus does
    if (tip.hidden) return;
    const anchor = anchorOf();
    if (!anchor || anchor.bottom < 0 || anchor.top > innerHeight) { hideTip(); return; }
    const {width, height} = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, anchor.left + anchor.width / 2 - width / 2), document.documentElement.clientWidth - width - 8);
    const above = anchor.top - height - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above >= 4 ? above : anchor.bottom + 8}px`;
  }
  function hideTip() { tip.hidden = true; }

  const say = (text) => { byId('status').textContent = text; };

  Object.assign(moxie, {byId, element, percent, count, decimal, times, label, isDark, oklch, expertColour, bandColour, heat, showTip, placeTip, hideTip, say});
})();
