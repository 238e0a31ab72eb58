/* Appended to a copy of a page: what a reader would see. Writes one line of JSON into the title. */
function parse(colour) {
  const parts = colour.match(/[\d.]+/g).map(Number);
  return {r: parts[0], g: parts[1], b: parts[2], a: parts.length > 3 ? parts[3] : 1};
}
function luminance(c) {
  const f = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  return 0.2126 * f(c.r) + 0.7152 * f(c.g) + 0.0722 * f(c.b);
}
function ground(element) {
  for (let e = element; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.a > 0) return c;
  }
  return {r: 255, g: 255, b: 255, a: 1};
}
function contrast(a, b) {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}
const report = {worst: 99, where: '', texts: 0, overflow: document.documentElement.scrollWidth - innerWidth};
for (const d of document.querySelectorAll('details')) d.open = true;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || element.closest('title,desc,script,.skip')) continue;
  const style = getComputedStyle(element), colour = parse(element.closest('svg') ? style.fill : style.color);
  const found = contrast(colour, ground(element));
  report.texts++;
  if (found < report.worst) [report.worst, report.where] = [found, element.tagName + '.' + element.getAttribute('class') + ': ' + walker.currentNode.data.slice(0, 30)];
}
report.overflow = Math.max(report.overflow, document.documentElement.scrollWidth - innerWidth);
const table = document.querySelector('table.sorts'), column = table.tHead.rows[0].cells.length > 5 ? 5 : 2;
const cells = () => Array.from(table.tBodies[0].rows, r => Number(r.cells[column].textContent.replace(/[^\d.e+-]/g, '')));
const button = table.tHead.rows[0].cells[column].querySelector('button');
button.click();
const up = cells();
button.click();
const down = cells();
report.sorts = up.every((v, i) => !i || v >= up[i - 1] || isNaN(v)) && down.every((v, i) => !i || v <= down[i - 1] || isNaN(v));
const input = document.querySelector('.filter input');
input.value = table.tBodies[0].rows[0].cells[0].textContent;
input.dispatchEvent(new Event('input'));
report.filters = Array.from(table.tBodies[0].rows).filter(r => !r.hidden).length >= 1 && document.querySelector('.filter span').textContent.includes('of');
report.dark = matchMedia('(prefers-color-scheme: dark)').matches;
report.milliseconds = Math.round(performance.now());
document.title = JSON.stringify(report);
