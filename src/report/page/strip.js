// The token strip and the route of one token through the layers.
'use strict';
(() => {
  const {byId, element, decimal, label, expertColour, layers, text, numTokens, data} = moxie;
  const strip = byId('strip'), route = byId('route');
  const kBarWidth = 210;  // of a route's bar, in a wide window: a number that would not fit is left to the tooltip
  const kBands = 32;  // layers drawn below a token at once
  let spans = [], current = 0;

  const experts = (layer, t) => {
    const list = [];
    for (let s = 0; s < layer.slots; ++s) {
      const expert = layer.ids[t * layer.slots + s];
      if (expert >= 0) list.push({expert, weight: layer.weights ? layer.weights[t * layer.slots + s] : null});
    }
    return list;
  };
  const name = (t) => `“${label(text[t])}”`;
  const marginText = (layer, t) => (!layer.margins || Number.isNaN(layer.margins[t]) ? null : decimal(layer.margins[t]));

  function describe(t, l) {
    const layer = layers[l], margin = marginText(layer, t);
    const list = experts(layer, t).map((x) => `expert ${x.expert}${x.weight === null ? '' : ` weight ${decimal(x.weight)}`}`);
    return `${name(t)}, token ${t}. Layer ${layer.layer}: ${list.join(', ') || 'dropped'}` +
        (margin === null ? '' : `; margin ${margin}`);
  }

  function tipOf(t) {
    const layer = layers[moxie.state.layer], margin = marginText(layer, t);
    const list = experts(layer, t), most = Math.max(...list.map((x) => x.weight || 0), 1e-30);
    const rows = list.map((x) => element('div', {class: 'tip-row'},
        element('span', {class: 'swatch', style: {backgroundColor: expertColour(x.expert)}}, String(x.expert)),
        element('span', {class: 'meter'}, element('span', {style: {width: `${Math.max(0, 100 * (x.weight ?? 0) / most)}%`}})),
        element('span', {class: 'number'}, x.weight === null ? '' : decimal(x.weight))));
    if (layer.slots < layer.topK) rows.push(element('div', {class: 'muted'}, `and ${layer.topK - layer.slots} weaker, not kept here`));
    if (!list.length) rows.push(element('div', {class: 'muted'}, 'dropped: no expert had room'));
    return [element('div', {class: 'tip-title'}, element('b', {}, name(t)), element('span', {class: 'muted'}, `layer ${layer.layer}`)),
            ...rows, margin === null ? null : element('div', {class: 'muted'}, `margin ${margin}`)].filter(Boolean);
  }

  function showToken(t, pin = false) {
    if (pin) moxie.state.pinned = moxie.state.pinned === t ? null : t;
    for (const span of strip.querySelectorAll('[aria-selected=true]')) span.setAttribute('aria-selected', 'false');
    if (moxie.state.pinned !== null) spans[moxie.state.pinned].setAttribute('aria-selected', 'true');
    moxie.showTip(() => spans[t].getClientRects()[0], ...tipOf(t));
    if (moxie.state.pinned === null || moxie.state.pinned === t) drawRoute(t);
  }

  function focusToken(t) {
    spans[current].tabIndex = -1;
    current = Math.min(numTokens - 1, Math.max(0, t));
    spans[current].tabIndex = 0;
    spans[current].focus();
  }

  // The token of the line above or below that stands nearest.
  function lineStep(t, direction) {
    const here = spans[t].getClientRects()[0], x = here.left;
    let best = t, line = null;
    for (let i = t + direction; i >= 0 && i < numTokens; i += direction) {
      const box = spans[i].getClientRects()[0];
      if (!box || Math.abs(box.top - here.top) < 4) continue;
      if (line === null) line = box.top;
      if (Math.abs(box.top - line) >= 4) break;
      if (best === t || Math.abs(box.left - x) < Math.abs(spans[best].getClientRects()[0].left - x)) best = i;
    }
    return best;
  }

  function onKey(event) {
    const t = current;
    const moves = {ArrowRight: () => t + 1, ArrowLeft: () => t - 1, ArrowDown: () => lineStep(t, 1),
                   ArrowUp: () => lineStep(t, -1), Home: () => 0, End: () => numTokens - 1};
    if (moves[event.key]) focusToken(moves[event.key]());
    else if (event.key === 'Enter' || event.key === ' ') showToken(t, true);
    else return;
    event.preventDefault();
  }

  const tokenOf = (event) => (event.target.dataset && event.target.dataset.t !== undefined ? Number(event.target.dataset.t) : null);

  function build() {
    const parts = [];
    spans = text.map((shown, t) => {
      const span = element('span', {class: 'token', role: 'option', 'aria-selected': 'false', tabindex: t === 0 ? 0 : -1, 'data-t': t},
                           shown === '' ? '∅' : shown);
      parts.push(span);
      if (shown.endsWith('↵')) parts.push(element('br'));
      return span;
    });
    strip.replaceChildren(...parts);
    strip.addEventListener('mouseover', (event) => { const t = tokenOf(event); if (t !== null) showToken(t); });
    strip.addEventListener('mouseleave', moxie.hideTip);
    strip.addEventListener('focusin', (event) => {
      const t = tokenOf(event);
      if (t === null) return;
      spans[current].tabIndex = -1;
      current = t;
      spans[t].tabIndex = 0;
      spans[t].setAttribute('aria-label', describe(t, moxie.state.layer));
      showToken(t);
    });
    strip.addEventListener('focusout', moxie.hideTip);
    strip.addEventListener('click', (event) => { const t = tokenOf(event); if (t !== null) showToken(t, true); });
    strip.addEventListener('keydown', onKey);
    if (!numTokens) strip.append(element('p', {class: 'muted'}, 'The trace holds no tokens.'));
    else drawRoute(0);
  }

  // One band per layer below the token, in the colour of the layer's strongest expert.
  function bands(t) {
    const step = Math.ceil(layers.length / kBands), shown = layers.filter((_, l) => l % step === 0);
    const colours = shown.map((layer) => (layer.ids[t * layer.slots] < 0 ? 'transparent' : moxie.bandColour(layer.ids[t * layer.slots])));
    const part = 100 / colours.length;
    return `linear-gradient(to bottom, ${colours.map((c, i) => `${c} ${i * part}% ${(i + 1) * part}%`).join(', ')})`;
  }

  function paint() {
    const {all, numbers, expert, layer: l} = moxie.state, layer = layers[l];
    strip.classList.toggle('all', all && !expert);
    strip.classList.toggle('numbers', numbers);
    strip.style.setProperty('--bands', `${Math.min(kBands, layers.length) * (layers.length > 12 ? 1 : 3)}px`);
    strip.classList.toggle('chosen', expert !== null);
    for (let t = 0; t < numTokens; ++t) {
      const style = spans[t].style, first = layer.ids[t * layer.slots];
      const own = expert === null ? null : experts(layer, t).find((x) => x.expert === expert);
      spans[t].classList.toggle('hit', Boolean(own));
      spans[t].classList.toggle('close', Boolean(!all && layer.margins && layer.margins[t] <= layer.closeCall));
      spans[t].dataset.e = first < 0 ? '–' : own ? expert : first;
      style.backgroundImage = all && expert === null ? bands(t) : '';
      if (expert !== null) style.backgroundColor = own ? expertColour(expert) : '';
      else style.backgroundColor = all || first < 0 ? '' : expertColour(first);
    }
    const kept = layers.some((x) => x.slots < x.topK);
    const step = Math.ceil(layers.length / kBands);
    byId('tokens-note').textContent = [
      expert !== null ? `Marked: the tokens that visit expert ${expert} of layer ${layer.layer}.`
      : all ? `Each token stands on one band per ${step > 1 ? `${step} layers` : 'layer'}, first layer on top, in the colour of its strongest expert there.`
            : 'Colour: the strongest expert of each token' + (layer.margins ? '; dotted line: a close call (lowest tenth of the margins).' : '.'),
      numTokens < data.tokens.total ? `Shown are the first ${moxie.count(numTokens)} of ${moxie.count(data.tokens.total)} tokens.` : '',
      kept ? `Of each token the ${layer.slots} strongest of ${layer.topK} experts are kept.` : '',
      kept || numTokens < data.tokens.total ? 'Loads count every token and every expert.' : ''].filter(Boolean).join(' ');
  }

  // A token's way: per layer one bar, cut by the weights of its experts.
  let routed = 0;
  function drawRoute(t = routed) {
    if (!numTokens) return;
    routed = t;
    const rows = layers.map((layer, l) => {
      const list = experts(layer, t), sum = list.reduce((total, x) => total + Math.max(0, x.weight ?? 1), 0) || 1;
      const cuts = list.map((x) => {
        const part = Math.max(0, x.weight ?? 1) / sum;
        const chosen = moxie.state.expert === x.expert && moxie.state.layer === l;
        return element('button', {type: 'button', class: chosen ? 'cut chosen' : 'cut', tabindex: -1, 'data-l': l, 'data-e': x.expert,
            'aria-label': `Layer ${layer.layer}, expert ${x.expert}${x.weight === null ? '' : `, weight ${decimal(x.weight)}`}`,
            title: `expert ${x.expert}${x.weight === null ? '' : ` · weight ${decimal(x.weight)}`}`,
            style: {flexGrow: String(Math.max(part, 0.04)), backgroundColor: expertColour(x.expert)}},
            part * kBarWidth > 8 * String(x.expert).length + 2 ? String(x.expert) : '');
      });
      const margin = marginText(layer, t);
      return element('div', {class: l === moxie.state.layer ? 'hop current' : 'hop'}, element('span', {class: 'number'}, String(layer.layer)),
          element('div', {class: 'cuts'}, ...cuts), element('span', {class: 'number muted'}, margin ?? ''));
    });
    route.replaceChildren(
        element('h3', {}, element('span', {class: 'word'}, name(t))),
        element('p', {class: 'muted'}, `token ${t} · id ${data.tokens.vocabulary[data.tokens.index[t]][0]}` +
                                         (moxie.state.pinned === t ? ' · pinned' : '')),
        element('div', {class: 'hop head muted'}, element('span', {class: 'number'}, 'layer'),
                element('span', {}, 'experts, by weight'), element('span', {class: 'number'}, layers.some((x) => x.margins) ? 'margin' : '')),
        element('div', {class: 'hops'}, ...rows));
  }
  route.addEventListener('click', (event) => {
    const {l, e} = event.target.dataset;
    if (e !== undefined) moxie.choose(Number(l), Number(e));
  });

  Object.assign(moxie, {buildStrip: build, paintStrip: paint, drawRoute: () => drawRoute()});
})();
