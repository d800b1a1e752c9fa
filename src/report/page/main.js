// The page's state, its controls and its head. Every change goes through set() or choose(), which redraw what it touches.
'use strict';
(() => {
  const {byId, element, count, layers, data} = moxie;

  // layer: index into layers; expert: number in that layer, or null; pinned: token whose route stays, or null.
  moxie.state = {layer: 0, all: false, numbers: false, measure: 'load', order: 'load', attract: 'count', expert: null, pinned: null};

  function redraw() {
    if (!layers.length) return;
    const {state} = moxie;
    byId('layer').value = state.layer;
    byId('layer').setAttribute('aria-valuetext', `Layer ${layers[state.layer].layer}`);
    byId('layer-name').textContent = String(layers[state.layer].layer);
    byId('previous').disabled = state.layer === 0;
    byId('next').disabled = state.layer === layers.length - 1;
    byId('chosen').hidden = state.expert === null;
    byId('chosen-name').textContent = state.expert === null ? '' : `Expert ${state.expert} of layer ${layers[state.layer].layer}`;
    moxie.paintStrip();
    moxie.drawRoute();
    moxie.drawHeat();
    moxie.drawHistogram();
    moxie.drawExpert();
    moxie.drawAttracts();
  }

  moxie.set = (changes) => {
    if (changes.layer !== undefined && changes.layer !== moxie.state.layer && changes.expert === undefined) changes.expert = null;
    Object.assign(moxie.state, changes);
    moxie.hideTip();
    redraw();
  };

  // Chooses an expert, or lets it go when it is the chosen one.
  moxie.choose = (layer, expert) => {
    const again = moxie.state.layer === layer && moxie.state.expert === expert;
    moxie.set({layer, expert: again ? null : expert});
    moxie.say(again ? 'No expert chosen' : moxie.describeExpert(layer, expert));
  };

  function head() {
    byId('model').textContent = data.model;
    byId('source').textContent = data.source;
    const pair = ([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value));
    byId('router').replaceChildren(...data.router.map(pair));
    const numbers = (key) => [...new Set(layers.map((layer) => layer[key]))].sort((a, b) => a - b);
    const range = (list) => (list.length > 1 ? `${list[0]}–${list[list.length - 1]}` : String(list[0]));
    const totals = [['Tokens', count(data.tokens.total)]];
    if (layers.length) {
      const worst = layers.reduce((a, b) => (b.maxOverMean > a.maxOverMean ? b : a));
      const experts = layers.reduce((sum, layer) => sum + layer.experts, 0);
      totals.push(['MoE layers', count(layers.length)], ['Experts a token', `${range(numbers('topK'))} of ${range(numbers('experts'))}`],
                  ['Assignments', count(data.assignments)], ['Load entropy, mean', data.entropy.toFixed(3)],
                  ['Max / mean, worst', `${worst.maxOverMean.toFixed(2)}`, `layer ${worst.layer}`],
                  ['Idle experts', count(data.dead), `of ${count(experts)}`]);
      if (data.dropped) totals.push(['Dropped', moxie.percent(data.dropped / (data.dropped + data.assignments))]);
    }
    byId('totals').replaceChildren(...totals.map(([name, value, note]) => element('div', {}, element('dt', {}, name),
        element('dd', {}, value, note ? element('small', {class: 'muted'}, ` ${note}`) : null))));
    const shown = data.warnings.slice(0, 6), rest = data.warnings.slice(6);
    const line = (text) => element('li', {}, text);
    byId('warnings').hidden = !shown.length;
    byId('warnings').replaceChildren(...shown.map(line), ...(rest.length ? [element('li', {class: 'more'},
        element('details', {}, element('summary', {}, `${rest.length} more`), element('ul', {}, ...rest.map(line))))] : []));
    byId('metadata').hidden = !data.metadata.length;
    byId('metadata-list').replaceChildren(...data.metadata.flatMap(([key, value]) => [element('dt', {}, key), element('dd', {class: 'word'}, value)]));
  }

  function controls() {
    const {state} = moxie;
    byId('layer').max = Math.max(0, layers.length - 1);
    byId('layer').addEventListener('input', (event) => moxie.set({layer: Number(event.target.value)}));
    byId('previous').addEventListener('click', () => moxie.set({layer: Math.max(0, state.layer - 1)}));
    byId('next').addEventListener('click', () => moxie.set({layer: Math.min(layers.length - 1, state.layer + 1)}));
    byId('all-layers').addEventListener('change', (event) => moxie.set({all: event.target.checked}));
    byId('numbers').addEventListener('change', (event) => moxie.set({numbers: event.target.checked}));
    byId('clear').addEventListener('click', () => moxie.set({expert: null}));
    for (const radio of document.querySelectorAll('input[type=radio]')) {
      radio.addEventListener('change', () => moxie.set({[radio.name]: radio.value}));
      if (radio.value === 'weight') radio.disabled = !layers.some((layer) => layer.mass.length);
    }
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') moxie.set({expert: null, pinned: null});
    });
    moxie.watchTheme(redraw);
    new ResizeObserver(() => moxie.drawHistogram()).observe(byId('histogram'));
  }

  head();
  controls();
  moxie.buildStrip();
  if (layers.length) moxie.buildHeat();
  else byId('heat').replaceChildren(element('caption', {class: 'muted'}, 'The trace holds no MoE layer.'));
  redraw();
})();
