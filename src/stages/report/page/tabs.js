// The tabs of labels and pages: which is selected, the filter by name, and keys.
'use strict';

/** @param pages the pages beside the labels: [id, name] */
diffmine.tabs = (page, pages) => {
  const { $, h } = diffmine.tools;
  const MANY = 16; // labels, from which tabs wrap and can be searched

  function show() {
    const many = page.run.labels.length >= MANY;
    $('bar').classList.toggle('many', many);
    $('find').hidden = !many;
    const tab = (id, kind, name, onclick) =>
      h(
        'button',
        {
          class: `tab${kind}`,
          type: 'button',
          role: 'tab',
          id: `tab-${id}`,
          'aria-controls': 'panel',
          title: name,
          tabindex: '-1',
          onclick,
        },
        name,
      );
    const special = pages().map(([id, name]) => tab(id, ' apart', name, () => page.go({ label: id })));
    $('tabs').replaceChildren(
      ...special.filter(({ id }) => id !== 'tab-evaluation'),
      ...page.run.labels.map(({ label, patches }, index) =>
        tab(index, patches ? '' : ' empty', label, () => page.go({ label: index, view: page.viewFor(index) })),
      ),
    );
    $('tabs').append(...special.filter(({ id }) => id === 'tab-evaluation'));
    $('tabs').addEventListener('keydown', (event) => {
      const seen = [...$('tabs').children].filter((tab) => !tab.hidden);
      const at = seen.indexOf(document.activeElement);
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: seen.length - 1 }[event.key];
      if (next === undefined || at < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const tab = seen[(next + seen.length) % seen.length];
      tab.focus();
      tab.click();
    });
    $('filter').addEventListener('input', () => {
      const wanted = $('filter').value.trim().toLocaleLowerCase();
      let seen = 0;
      for (const tab of $('tabs').children) {
        tab.hidden = !tab.textContent.toLocaleLowerCase().includes(wanted);
        if (!tab.hidden) seen++;
      }
      $('nomatch').hidden = seen > 0;
      rove();
    });
    $('filter').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== 'ArrowDown') return;
      const first = [...$('tabs').children].find((tab) => !tab.hidden);
      if (!first) return;
      event.preventDefault();
      first.focus();
      if (event.key === 'Enter') first.click();
    });
    $('bar').hidden = false;
  }

  /** One tab can be reached with the Tab key: the selected one, or the first that the filter leaves. */
  function rove() {
    const tabs = [...$('tabs').children];
    const selected = $(`tab-${page.state.label === 'image' ? 'map' : page.state.label}`);
    const stop = selected && !selected.hidden ? selected : tabs.find((tab) => !tab.hidden);
    tabs.forEach((tab) => {
      tab.tabIndex = tab === stop ? 0 : -1;
      tab.setAttribute('aria-selected', String(tab === selected));
    });
  }

  return { show, rove };
};
