// The layer by expert heat map and the load histogram of one layer.
'use strict';
(() => {
  const {byId, element, percent, count, decimal, times, layers} = moxie;
  const heatTable = byId('heat'), histogram = byId('histogram');

  // What the measure counts per expert, and its mean.
  const values = (layer) => (moxie.state.measure === 'weight' && layer.mass.length ? layer.mass : layer.counts);
  const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;

  function describe(l, e) {
    const layer = layers[l], share = layer.assignments ? layer.counts[e] / layer.assignments : 0;
    return `Layer ${layer.layer}, expert ${e}: ${count(layer.counts[e])} tokens, ${percent(share)} of the load, ` +
        `${times(share * layer.experts)} the even share` + (layer.mass.length ? `, weight mass ${decimal(layer.mass[e])}` : '');
  }

  function tipOf(l, e) {
    const layer = layers[l], share = layer.assignments ? layer.counts[e] / layer.assignments : 0;
    const row = (name, value) => element('div', {class: 'tip-pair'}, element('span', {class: 'muted'}, name), element('span', {class: 'number'}, value));
    const typical = moxie.attracted(l, e, 'count', 6).map((token) => moxie.label(token.text)).join('  ');
    return [element('div', {class: 'tip-title'}, element('b', {}, `Expert ${e}`), element('span', {class: 'muted'}, `layer ${layer.layer}`)),
            row('tokens', count(layer.counts[e])), row('share', `${percent(share)} · ${times(share * layer.experts)} even`),
            layer.mass.length ? row('weight mass', decimal(layer.mass[e])) : null,
            typical ? element('div', {class: 'word muted'}, typical) : null].filter(Boolean);
  }

  // ---- heat map: a table, one canvas a layer; a row is a slider over its experts for keyboard and screen reader ----

  let rows = [], cell = 10, rowHeight = 22, top = 2;
  const order = [];  // focused expert per layer

  function buildHeat() {
    rowHeight = layers.length > 32 ? 15 : layers.length > 12 ? 20 : 28;
    heatTable.style.setProperty('--row', `${rowHeight}px`);
    const head = element('tr', {}, element('th', {scope: 'col'}, 'Layer'), element('th', {scope: 'col', class: 'axis', id: 'axis'}, 'Expert'),
        ...[['Entropy', ''], ['Max / mean', ''], ['No token', 'experts that received no token'], ['Margin', 'mean margin']]
            .map(([text, title]) => element('th', {scope: 'col', class: 'number stat', title: title || null}, text)));
    rows = layers.map((layer, l) => {
      order[l] = 0;
      const canvas = element('canvas', {tabindex: l === 0 ? 0 : -1, role: 'slider', 'aria-label': `Experts of layer ${layer.layer}`,
                                        'aria-valuemin': 0, 'aria-valuemax': layer.experts - 1, 'data-l': l});
      const stat = (text, alarm) => element('td', {class: alarm ? 'number stat alarm' : 'number stat'}, text);
      const enough = layer.assignments >= 5 * layer.experts;  // as the warnings judge it
      const row = element('tr', {}, element('th', {scope: 'row'}, element('button', {type: 'button', class: 'quiet', 'data-l': l}, String(layer.layer))),
          element('td', {class: 'cells'}, canvas), stat(layer.entropy.toFixed(3)), stat(layer.maxOverMean.toFixed(2), enough && layer.maxOverMean >= 3),
          stat(String(layer.dead), enough && layer.dead > 0), stat(layer.margin === undefined ? '–' : decimal(layer.margin)));
      return {canvas, row};
    });
    heatTable.replaceChildren(element('caption', {class: 'unseen'}, 'Load of each expert in each layer, with balance figures per layer'),
                              element('thead', {}, head), element('tbody', {}, ...rows.map((x) => x.row)));
    heatTable.addEventListener('mousemove', (event) => { const at = cellAt(event); at ? hover(at.l, at.e) : moxie.hideTip(); });
    heatTable.addEventListener('mouseleave', moxie.hideTip);
    heatTable.addEventListener('mousedown', (event) => { const at = cellAt(event); if (at) order[at.l] = at.e; });  // before the focus comes
    heatTable.addEventListener('click', (event) => {
      const at = cellAt(event);
      if (at) moxie.choose(at.l, at.e);
      else if (event.target.tagName === 'BUTTON') moxie.set({layer: Number(event.target.dataset.l)});
    });
    heatTable.addEventListener('keydown', onKey);
    heatTable.addEventListener('focusin', (event) => { if (event.target.tagName === 'CANVAS') focusCell(Number(event.target.dataset.l)); });
    heatTable.addEventListener('focusout', () => { moxie.hideTip(); drawHeat(); });
    new ResizeObserver(layoutHeat).observe(heatTable.parentElement);
  }

  function cellAt(event) {
    if (event.target.tagName !== 'CANVAS') return null;
    const l = Number(event.target.dataset.l), e = Math.floor(event.offsetX / cell);
    return e >= 0 && e < layers[l].experts ? {l, e} : null;
  }

  function hover(l, e) {
    moxie.showTip(() => {
      const box = rows[l].canvas.getBoundingClientRect();
      return {left: box.left + e * cell, width: cell, top: box.top, bottom: box.bottom};
    }, ...tipOf(l, e));
  }

  function focusCell(l) {
    rows.forEach((x, i) => { x.canvas.tabIndex = i === l ? 0 : -1; });
    rows[l].canvas.setAttribute('aria-valuenow', order[l]);
    rows[l].canvas.setAttribute('aria-valuetext', describe(l, order[l]));
    drawHeat();
    const scroller = heatTable.parentElement, box = scroller.getBoundingClientRect();
    const x = rows[l].canvas.getBoundingClientRect().left + order[l] * cell - box.left;  // in the visible part
    if (x < 0 || x + cell > box.width) scroller.scrollLeft += x - box.width / 2;
    hover(l, order[l]);
  }

  function onKey(event) {
    if (event.target.tagName !== 'CANVAS') return;
    let l = Number(event.target.dataset.l), e = order[l];
    if (event.key === 'ArrowRight') ++e;
    else if (event.key === 'ArrowLeft') --e;
    else if (event.key === 'ArrowDown') ++l;
    else if (event.key === 'ArrowUp') --l;
    else if (event.key === 'Home') e = 0;
    else if (event.key === 'End') e = Infinity;
    else if (event.key === 'Enter' || event.key === ' ') moxie.choose(l, e);
    else return;
    event.preventDefault();
    l = Math.min(layers.length - 1, Math.max(0, l));
    order[l] = Math.min(layers[l].experts - 1, Math.max(0, e));
    if (document.activeElement === rows[l].canvas) focusCell(l);
    else rows[l].canvas.focus();
  }

  function layoutHeat() {
    if (!layers.length) return;
    const most = Math.max(...layers.map((x) => x.experts));
    const room = heatTable.parentElement.clientWidth - (matchMedia('(max-width: 720px)').matches ? 56 : 372);
    const fits = Math.floor(room / most);
    cell = Math.max(most > 128 ? 4 : 6, Math.min(38, fits));
    const step = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].find((s) => s * cell >= 26) || 2048;
    const ticks = [];
    for (let e = 0; e < most; e += step) ticks.push(element('span', {style: {left: `${(e + 0.5) * cell}px`}}, String(e)));
    byId('axis').replaceChildren(element('span', {class: 'unseen'}, 'Expert'),
                                 element('div', {class: 'ticks', 'aria-hidden': 'true', style: {width: `${most * cell}px`}}, ...ticks));
    for (let l = 0; l < layers.length; ++l) {
      const {canvas} = rows[l], scale = window.devicePixelRatio || 1;
      canvas.width = Math.round(layers[l].experts * cell * scale);
      canvas.height = Math.round(rowHeight * scale);
      canvas.style.width = `${layers[l].experts * cell}px`;
      canvas.style.height = `${rowHeight}px`;
    }
    drawHeat();
  }

  const shade = (ratio) => Math.sqrt(Math.min(ratio, top) / top);  // more steps where most experts are

  function drawHeat() {
    const peaks = layers.map((layer) => Math.max(...values(layer)) / (mean(values(layer)) || 1));
    top = Math.min(8, Math.max(2, Math.ceil(Math.max(0, ...peaks))));
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue('--ink'), faint = style.getPropertyValue('--faint');
    layers.forEach((layer, l) => {
      const {canvas, row} = rows[l], pen = canvas.getContext('2d'), list = values(layer), even = mean(list) || 1;
      row.classList.toggle('current', l === moxie.state.layer);
      const scale = canvas.width / (layer.experts * cell);
      pen.setTransform(scale, 0, 0, scale, 0, 0);
      pen.clearRect(0, 0, layer.experts * cell, rowHeight);
      const gap = cell >= 6 ? 1 : 0;
      for (let e = 0; e < layer.experts; ++e) {
        const x = e * cell, width = cell - gap, height = rowHeight - 2;
        if (list[e] > 0) {
          pen.fillStyle = moxie.heat(shade(list[e] / even));
          pen.fillRect(x, 1, width, height);
        } else {  // no token at all: not merely pale, but crossed out
          pen.strokeStyle = faint;
          pen.lineWidth = 1;
          pen.strokeRect(x + 0.5, 1.5, width - 1, height - 1);
          if (cell >= 6) {
            pen.beginPath();
            pen.moveTo(x + 0.5, 1 + height - 0.5);
            pen.lineTo(x + width - 0.5, 1.5);
            pen.stroke();
          }
        }
        const chosen = moxie.state.expert === e && moxie.state.layer === l;
        if (chosen || (document.activeElement === canvas && order[l] === e)) {
          pen.strokeStyle = ink;
          pen.lineWidth = 2;
          pen.strokeRect(x + 1, 2, Math.max(1, width - 2), height - 2);
        }
      }
    });
    drawLegend();
  }

  function drawLegend() {
    const capped = layers.some((layer) => Math.max(...values(layer)) / (mean(values(layer)) || 1) > top);
    const steps = Array.from({length: 48}, (_, i) => element('span', {style: {backgroundColor: moxie.heat((i + 0.5) / 48)}}));
    const marks = [0, 1, top].map((x) => element('span', {style: {left: `${100 * shade(x)}%`}},
        x === 0 ? '0' : x === 1 ? '1× even' : `${x}×${capped ? ' or more' : ''}`));
    byId('heat-legend').replaceChildren(
        element('div', {class: 'ramp', role: 'img', 'aria-label': `Colour scale from 0 to ${top} times the even share`},
                element('div', {class: 'steps'}, ...steps), element('div', {class: 'marks'}, ...marks)),
        element('span', {class: 'nothing', 'aria-hidden': 'true'}), element('span', {class: 'muted'}, 'no token'));
  }

  // ---- histogram ----

  function drawHistogram() {
    if (!layers.length) return;
    const {layer: l, expert, order: sorted, measure} = moxie.state, layer = layers[l], list = values(layer);
    const sum = list.reduce((a, b) => a + b, 0) || 1, even = 1 / layer.experts;
    const ids = [...list.keys()];
    if (sorted === 'load') ids.sort((a, b) => list[b] - list[a] || a - b);
    const weighed = measure === 'weight' && layer.mass.length;
    byId('histogram-title').textContent = `${weighed ? 'Weight' : 'Load'} in layer ${layer.layer}`;
    const width = Math.max(240, histogram.clientWidth), height = 300, left = 44, bottom = 30, above = 18;
    const peak = Math.max(even * 1.6, ...list.map((x) => x / sum)) * 1.06;
    const x = (i) => left + (width - left - 4) * i / ids.length, y = (share) => above + (height - above - bottom) * (1 - share / peak);
    const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((s) => peak / s <= 5) || 1;
    const parts = [];
    for (let share = 0; share <= peak; share += step) {
      parts.push(element('line', {class: 'rule', x1: left, x2: width, y1: y(share), y2: y(share)}),
                 element('text', {class: 'tick', x: left - 8, y: y(share) + 4, 'text-anchor': 'end'}, `${+(100 * share).toFixed(1)}%`));
    }
    const slot = (width - left - 4) / ids.length, gap = slot > 8 ? 3 : slot > 3 ? 1 : 0;
    ids.forEach((e, i) => {
      const share = list[e] / sum, h = Math.max(share > 0 ? 1 : 0, y(0) - y(share));
      parts.push(element('rect', {class: e === expert ? 'bar-mark chosen' : 'bar-mark', x: x(i) + gap / 2, width: Math.max(0.5, slot - gap),
                                  y: y(0) - h, height: h, rx: slot > 14 ? 2 : 0}));
      if (list[e] === 0 && slot >= 4) parts.push(element('text', {class: 'tick none', x: x(i) + slot / 2, y: y(0) - 4, 'text-anchor': 'middle'}, '×'));
      if (slot >= 19) parts.push(element('text', {class: 'tick', x: x(i) + slot / 2, y: height - bottom + 16, 'text-anchor': 'middle'}, String(e)));
      parts.push(element('rect', {class: 'hit-area', 'data-e': e, x: x(i), width: slot, y: above, height: height - above - bottom}));
    });
    if (slot < 19) parts.push(element('text', {class: 'tick', x: left, y: height - bottom + 16},
        sorted === 'load' ? `${layer.experts} experts, busiest first` : `experts 0 to ${layer.experts - 1}`));
    parts.push(element('line', {class: 'ideal', x1: left, x2: width, y1: y(even), y2: y(even)}),
               element('text', {class: 'tick ideal-name', x: width - 2, y: y(even) - 6, 'text-anchor': 'end'}, `even share ${percent(even)}`));
    histogram.replaceChildren(element('svg', {viewBox: `0 0 ${width} ${height}`, width, height, role: 'img',
        'aria-label': `Shares of ${layer.experts} experts of layer ${layer.layer}; busiest ${percent(Math.max(...list) / sum)}, even ${percent(even)}`}, ...parts));
  }
  const barOf = (event) => (event.target.dataset.e === undefined ? null : Number(event.target.dataset.e));
  histogram.addEventListener('mousemove', (event) => {
    const e = barOf(event);
    if (e === null) moxie.hideTip();
    else moxie.showTip(() => event.target.getBoundingClientRect(), ...tipOf(moxie.state.layer, e));
  });
  histogram.addEventListener('mouseleave', moxie.hideTip);
  histogram.addEventListener('click', (event) => { const e = barOf(event); if (e !== null) moxie.choose(moxie.state.layer, e); });

  Object.assign(moxie, {buildHeat, drawHeat, drawHistogram, describeExpert: describe});
})();
