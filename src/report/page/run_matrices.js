// The heat maps of load over time and the matrices of domains and pairs, on canvases; pointer and arrow keys read cells.
'use strict';
(() => {
  const {byId, element, oklch, isDark, data} = moxie;
  const panels = [...document.querySelectorAll('canvas[data-panel]')].map((canvas) => ({canvas, ...data.panels[canvas.dataset.panel], at: [0, 0]}));
  const lowest = -5;  // log2 of load / mean: see run_matrices.cpp

  // -1..1 to a colour; 0 is balance and stands back, the ends are loud. Below: blue. Above: orange to red.
  function diverging(part) {
    const x = Math.min(1, Math.abs(part)), hue = part < 0 ? 258 : 58 - 30 * x;
    return isDark() ? oklch(0.27 + (part < 0 ? 0.30 : 0.45) * x, 0.005 + 0.17 * x, hue)
                    : oklch(0.975 - (part < 0 ? 0.50 : 0.40) * x, 0.004 + 0.19 * x, hue);
  }
  const rgb = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
  function colourOf(name) {  // of a class of the style
    const probe = document.createElement('span');
    probe.className = name;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return rgb(colour);
  }

  const ratioOf = (panel, code) => (code === 0 ? 0 : 2 ** (lowest + (code - 1) / 254 * (panel.most - lowest)));
  const loadPart = (ratio) => Math.log2(ratio) / 2;  // loud from a quarter and from four times the mean
  const valueOf = (panel, code) => (code - 128) / 127 * panel.most;

  // The colour of each of the 256 codes.
  function palette(panel) {
    const dead = colourOf(panel.kind === 'load' ? 'dead-colour' : 'none-colour');
    return Array.from({length: 256}, (_, code) => (code === 0 ? dead
        : rgb(diverging(panel.kind === 'load' ? loadPart(ratioOf(panel, code)) : (code - 128) / 127))));
  }

  function draw(panel, colours) {
    const {canvas, rows, columns, codes} = panel, scale = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
    if (!width || !height || !rows || !columns) return;
    canvas.width = width;
    canvas.height = height;
    const small = document.createElement('canvas');
    small.width = columns;
    small.height = rows;
    const image = new ImageData(columns, rows);
    codes.forEach((code, i) => { image.data.set([...colours[code], 255], 4 * i); });
    small.getContext('2d').putImageData(image, 0, 0);
    const pen = canvas.getContext('2d');
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, width, height);
    pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--paper');
    if (height / rows >= 5 * scale) for (let r = 1; r < rows; ++r) pen.fillRect(0, Math.round(r * height / rows), width, 1);
    if (panel.kind !== 'load' && width / columns >= 5 * scale) for (let c = 1; c < columns; ++c) pen.fillRect(Math.round(c * width / columns), 0, 1, height);
    if (document.activeElement === canvas) {
      const [r, c] = panel.at;
      pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue('--ink');
      pen.lineWidth = 2 * scale;
      pen.strokeRect(c * width / columns, r * height / rows, Math.max(3, width / columns), Math.max(3, height / rows));
    }
  }

  function drawAll() {
    const known = new Map();
    for (const panel of panels) {
      const key = `${panel.kind} ${panel.most}`;
      if (!known.has(key)) known.set(key, palette(panel));
      panel.colours = known.get(key);
      draw(panel, panel.colours);
    }
    drawLegends();
  }

  function drawLegends() {
    for (const legend of document.querySelectorAll('.legend[data-kind]')) {
      const load = legend.dataset.kind === 'load';
      const steps = Array.from({length: 49}, (_, i) => element('span', {style: {backgroundColor: diverging((i - 24) / 24)}}));
      const most = Number(legend.dataset.most || 0);
      const name = (x) => (load ? ['¼× or less', 'even', '4× or more'] : [`−${+(100 * most).toPrecision(2)}%`, 'chance', `+${+(100 * most).toPrecision(2)}%`])[x];
      legend.replaceChildren(element('div', {class: 'ramp', role: 'img', 'aria-label': `Colours from ${name(0)} over ${name(1)} to ${name(2)}`},
          element('div', {class: 'steps'}, ...steps),
          element('div', {class: 'marks'}, ...[0, 1, 2].map((x) => element('span', {style: {left: `${50 * x}%`}}, name(x))))),
          ...(load ? [element('span', {class: 'dead-key', 'aria-hidden': 'true'}), element('span', {class: 'muted'}, 'no token')] : []));
    }
  }

  const signed = (x) => `${x < 0 ? '−' : '+'}${(100 * Math.abs(x)).toFixed(1)}%`;

  // What one cell says: title, and label with value.
  function words(panel, row, column) {
    const code = panel.codes[row * panel.columns + column];
    if (panel.kind === 'load') {
      const [first, last] = data.runs[panel.run].columns[column], ratio = ratioOf(panel, code);
      const steps = first === last ? `step ${first}` : `steps ${first}–${last}`;
      return [`Expert ${row}`, steps, code === 0 ? 'no token' : `${code === 1 ? 'below ' : ''}${ratio < 0.995 ? ratio.toFixed(2) : ratio.toPrecision(3)}× the even load`];
    }
    const from = panel.kind === 'domains' ? (data.runs[panel.run].domains[row] ?? `domain ${row}`) : `Expert ${row}`;
    const value = code === 0 ? (panel.kind === 'pairs' && row === column ? 'itself' : 'no token') : `${signed(valueOf(panel, code))} against chance`;
    return [from, `${panel.kind === 'pairs' ? 'with expert' : 'expert'} ${column}`, value];
  }

  function show(panel, row, column, speak) {
    const [title, where, value] = words(panel, row, column);
    moxie.showTip(() => {
      const box = panel.canvas.getBoundingClientRect(), width = box.width / panel.columns, height = box.height / panel.rows;
      return {left: box.left + column * width, width, top: box.top + row * height, bottom: box.top + (row + 1) * height};
    }, element('div', {class: 'tip-title'}, element('b', {}, title), element('span', {class: 'muted'}, where)), element('div', {}, value),
       element('div', {class: 'muted'}, `layer ${panel.layer}`));
    if (speak) moxie.say(`${title}, ${where}: ${value}`);
  }

  function onKey(panel, event) {
    const moves = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity]};
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    panel.at = [Math.min(panel.rows - 1, Math.max(0, panel.at[0] + move[0])), Math.min(panel.columns - 1, Math.max(0, panel.at[1] + move[1]))];
    draw(panel, panel.colours);
    show(panel, ...panel.at, true);
  }

  for (const panel of panels) {
    const {canvas} = panel;
    canvas.addEventListener('mousemove', (event) => {
      const row = Math.floor(event.offsetY * panel.rows / canvas.clientHeight), column = Math.floor(event.offsetX * panel.columns / canvas.clientWidth);
      if (row >= 0 && row < panel.rows && column >= 0 && column < panel.columns) show(panel, row, column, false);
    });
    canvas.addEventListener('mouseleave', moxie.hideTip);
    canvas.addEventListener('keydown', (event) => onKey(panel, event));
    canvas.addEventListener('focus', () => draw(panel, panel.colours));
    canvas.addEventListener('blur', () => { moxie.hideTip(); draw(panel, panel.colours); });
    // One expert wants a few pixels, many experts share what a screen has.
    const cell = panel.kind === 'load' ? Math.min(12, Math.max(2, 192 / panel.rows)) : panel.kind === 'domains' ? Math.min(20, Math.max(8, 160 / panel.rows)) : 0;
    if (cell) canvas.style.height = `${Math.max(24, Math.round(cell * panel.rows))}px`;
    else canvas.style.aspectRatio = '1';
  }
  moxie.watchTheme(drawAll);
  let waiting = false;
  new ResizeObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawAll(); });
  }).observe(byId('runs'));
  for (const details of document.querySelectorAll('details')) details.addEventListener('toggle', drawAll);
  drawAll();
  Object.assign(moxie, {panels, ratioOf});
})();
