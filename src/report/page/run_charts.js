// The line charts: the values under the pointer, and the buttons that hide a run. The charts themselves are in the markup.
'use strict';
(() => {
  const {element} = moxie;
  const svgNamespace = 'http://www.w3.org/2000/svg';

  function read(svg) {
    const {from, to, left, right, top, bottom, xSize, xSuffix, ySize, ySuffix, xName} = svg.dataset;
    const curves = [...svg.querySelectorAll('.curve')].map((path) => ({
      path, name: path.dataset.name, run: [...path.classList].find((name) => name.startsWith('run-')), bold: path.classList.contains('bold'),
      points: path.dataset.points.split(',').map((point) => point.split(' ').map(Number)),
    }));
    return {svg, curves, xSuffix, ySuffix, xName, from: +from, to: +to, left: +left, right: +right, top: +top, bottom: +bottom, xSize: +xSize, ySize: +ySize};
  }

  function nearest(points, x) {
    let low = 0, high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle][0] <= x) low = middle;
      else high = middle;
    }
    return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
  }

  const shown = (value, size, suffix) => `${+(value / size).toPrecision(4)}${suffix}`;

  function follow(chart, event) {
    const box = chart.svg.getBoundingClientRect(), width = chart.svg.viewBox.baseVal.width;
    const place = (event.clientX - box.left) * width / box.width;
    if (place < chart.left || place > chart.right) { leave(chart); return; }
    const x = chart.from + (place - chart.left) / (chart.right - chart.left) * (chart.to - chart.from);
    const reach = (chart.to - chart.from) * 0.03;
    const rows = chart.curves.filter((curve) => getComputedStyle(curve.path).display !== 'none').flatMap((curve) => {
      const first = curve.points[0][0], last = curve.points[curve.points.length - 1][0];
      if (x < first - reach || x > last + reach) return [];
      const [, y] = nearest(curve.points, x);
      return [element('div', {class: 'tip-pair'}, element('span', {}, element('i', {class: `key ${curve.run}`}), ` ${curve.name}`),
                      element('span', {class: curve.bold ? 'number strong' : 'number'}, shown(y, chart.ySize, chart.ySuffix)))];
    });
    if (!rows.length) { leave(chart); return; }
    if (!chart.ruler) {
      chart.ruler = document.createElementNS(svgNamespace, 'line');
      chart.ruler.setAttribute('class', 'ruler');
      chart.ruler.setAttribute('y1', chart.top);
      chart.ruler.setAttribute('y2', chart.bottom);
      chart.svg.append(chart.ruler);
    }
    chart.ruler.setAttribute('x1', place);
    chart.ruler.setAttribute('x2', place);
    chart.ruler.style.display = '';
    const at = event.clientX, top = box.top + chart.top * box.height / chart.svg.viewBox.baseVal.height;
    moxie.showTip(() => ({left: at, width: 0, top, bottom: box.bottom}),
        element('div', {class: 'tip-title'}, element('b', {}, shown(x, chart.xSize, chart.xSuffix)), element('span', {class: 'muted'}, chart.xName)), ...rows);
  }

  function leave(chart) {
    moxie.hideTip();
    if (chart.ruler) chart.ruler.style.display = 'none';
  }

  for (const svg of document.querySelectorAll('.plot svg[data-from]')) {
    const chart = read(svg);
    svg.addEventListener('mousemove', (event) => follow(chart, event));
    svg.addEventListener('mouseleave', () => leave(chart));
  }

  document.getElementById('runs').addEventListener('click', (event) => {
    const button = event.target.closest('button[data-run]');
    if (!button) return;
    const hide = button.getAttribute('aria-pressed') === 'true';
    button.setAttribute('aria-pressed', String(!hide));
    document.documentElement.classList.toggle(`without-${button.dataset.run}`, hide);
  });
})();
