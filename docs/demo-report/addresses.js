// Addresses within the report: what stands after # in the browser's address.
//
//   #/overview,
//   #/map,
//   #/trends,
//   #/image/12,
//   #/evaluation,
//   #label,
//   #label/ranking,
//   #label/3 (cluster),
//   #label/3/17 (its patch of rank 17),
//   #label/top/17
'use strict';

diffmine.addresses = (page) => {
  const { LISTS } = diffmine.tools;

  function address({ label, view, group, rank, image }) {
    if (label === 'image') return `#/image/${image}`;
    if (typeof label === 'string') return `#/${label}`;
    const parts = [page.run.labels[label].label];
    if (group) parts.push(group);
    else if (view === 'ranking') parts.push('ranking');
    if (group && rank) parts.push(String(rank));
    return `#${parts.map(encodeURIComponent).join('/')}`;
  }

  function parse(hash) {
    const special = /^#\/(\w+)(?:\/(\d+))?$/.exec(hash);
    if (special?.[1] === 'image' && special[2] && page.run.map) return { label: 'image', image: Number(special[2]) };
    if (special && pages().some(([id]) => id === special[1])) return { label: special[1] };
    if (hash.length < 2) return { label: 'overview' };
    let parts;
    try {
      parts = hash.replace(/^#/, '').split('/').map(decodeURIComponent);
    } catch {
      parts = [];
    }
    const found = page.run.labels.findIndex(({ label }) => label === parts[0]);
    const label = Math.max(0, found);
    const isList = LISTS.includes(parts[1]);
    const group = found >= 0 && (isList || /^\d+$/.test(parts[1] ?? '')) ? parts[1] : null;
    const clusters = page.run.labels[label].clusters > 0;
    const view = !clusters || parts[1] === 'ranking' || isList ? 'ranking' : 'clusters';
    return { label, view, group, rank: group && /^\d+$/.test(parts[2] ?? '') ? Number(parts[2]) : null };
  }

  /** The pages beside the labels, before and after their tabs. */
  const pages = () => [
    ['overview', 'Overview'],
    ...(page.run.map ? [['map', 'Map']] : []),
    ...(diffmine.courses ? [['trends', 'Trends']] : []),
    ...(diffmine.evaluation ? [['evaluation', 'Evaluation']] : []),
  ];

  return { address, parse, pages };
};
