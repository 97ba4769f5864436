// The frame of pages that are plain HTML, opened from disk with no server and no network: style and script are in the page and allowed by their hashes.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { html, raw, verbatim, type Markup } from './html.js';
import { sharedPath } from './shared.js';

/** The look of all pages, with what a page has of its own. */
export async function readStyle(...own: string[]): Promise<string> {
  return (await Promise.all([sharedPath('look.css'), ...own].map((file) => readFile(file, 'utf8')))).join('');
}

const sha256 = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** @param body what stands in the body; a script is its last part */
export function document(
  { title, style, script }: { title: string; style: string; script?: string },
  body: Markup,
): Markup {
  const policy = `default-src 'none'; ${script === undefined ? '' : `script-src ${sha256(script)}; `}style-src ${sha256(style)}; img-src 'self' file:; base-uri 'none'; form-action 'none'`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${raw(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
${verbatim('style', style)}
</head>
<body>
${body}</body>
</html>
`;
}
