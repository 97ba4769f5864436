// Checks that run in a page: contrast of texts, names of controls. Each must stand alone: only its own source is sent to the browser.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

/** Texts whose contrast with what is behind them is below 4.5 (3 for large ones), by WCAG's formula; of the open dialog, if there is one. */
export function lowContrast(): string[] {
  const parse = (color: string): number[] => (color.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r = 0, g = 0, b = 0]: number[]): number => {
    const [x, y, z] = [r, g, b].map((c) =>
      c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4,
    ) as [number, number, number];
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element: Element | null): number[] => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const root = document.querySelector('dialog[open]') ?? document.body;
  const found: string[] = [];
  for (const element of root.querySelectorAll('*')) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent?.trim());
    if (!own || !element.checkVisibility() || element.closest('.unseen, .skip, title, :disabled')) continue;
    const style = getComputedStyle(element);
    const color = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [luminance(parse(color)), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large =
      parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${element.textContent?.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return found;
}

/** What can be reached by keyboard, and images, that a screen reader has no name for. */
export function unnamed(): string[] {
  const textOf = (ids: string | null): string =>
    (ids ?? '')
      .split(' ')
      .map((id) => document.getElementById(id)?.textContent ?? '')
      .join('');
  const root = document.querySelector('dialog[open]') ?? document.body;
  return [...root.querySelectorAll('button, a[href], input, select, summary, [tabindex="0"], [role=img], img')]
    .filter((element) => element.checkVisibility() && !element.closest('[aria-hidden=true]'))
    .filter((element) => !(element instanceof HTMLImageElement && element.getAttribute('alt') === ''))
    .filter((element) => {
      const labels = 'labels' in element ? [...((element.labels as NodeList | null) ?? [])] : [];
      const images = [...element.querySelectorAll('img, [aria-label]')];
      return ![
        element.getAttribute('aria-label'),
        textOf(element.getAttribute('aria-labelledby')),
        element.getAttribute('alt'),
        element.getAttribute('title'),
        ...labels.map((label) => label.textContent),
        element instanceof HTMLInputElement || element instanceof HTMLSelectElement ? '' : element.textContent,
        ...images.map((image) => image.getAttribute('alt') ?? image.getAttribute('aria-label')),
      ].some((name) => name?.trim());
    })
    .map((element) => element.outerHTML.slice(0, 120));
}

/** What makes the page, or the open dialog, wider than it may be: its width, and elements with something to the right of it. */
export function tooWide(): string[] {
  const dialog = document.querySelector('dialog[open]');
  const root = dialog ?? document.documentElement;
  const most = dialog ? dialog.clientWidth : Math.min(window.innerWidth, document.documentElement.clientWidth);
  if (root.scrollWidth <= most) return [];
  const scrolls = (element: Element): boolean => {
    for (let one: Element | null = element; one && one !== document.body; one = one.parentElement)
      if (getComputedStyle(one).overflowX !== 'visible' && getComputedStyle(element).position !== 'absolute')
        return true;
    return false;
  };
  const out = [...root.querySelectorAll('body *')].filter((element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const rects = [element.getBoundingClientRect(), ...range.getClientRects()];
    return rects.some(({ right }) => right > most + 0.5) && !scrolls(element);
  });
  return [`${root.scrollWidth} px of ${most}`, ...out.slice(-5).map((element) => element.outerHTML.slice(0, 120))];
}
