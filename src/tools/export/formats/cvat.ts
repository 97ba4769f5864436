// "CVAT for images 1.1". https://docs.cvat.ai/docs/manual/advanced/xml_format/
import { escape } from '../../../web/html.js';
import type { Attributes } from '../findings.js';
import { byImage, pixels, type Format } from './format.js';

/** How CVAT edits each attribute. */
const ATTRIBUTES: Record<Exclude<keyof Attributes, 'threshold'>, 'number' | 'text'> = {
  typicality: 'text',
  standard_error: 'text',
  rank: 'number',
  list: 'text',
  cluster: 'text',
};

/** Text of an element or attribute; XML has no control characters. */
const xml = (text: string): string => escape(text.replace(/[^\P{Cc}\t\n\r]/gu, '\ufffd'));

const textOf = (value: string | number | null | undefined): string =>
  value === null || value === undefined ? '' : String(value);

export const cvat: Format = {
  isFolder: false,
  masks: false,
  *files(found) {
    const { images, categories } = found;
    const lines = ['<?xml version="1.0" encoding="utf-8"?>', '<annotations>', '  <version>1.1</version>'];
    lines.push('  <meta>', '    <task>', `      <size>${images.length}</size>`, '      <labels>');
    for (const { name } of categories) {
      lines.push('        <label>', `          <name>${xml(name)}</name>`, '          <type>rectangle</type>');
      lines.push('          <attributes>');
      for (const [attribute, kind] of Object.entries(ATTRIBUTES))
        lines.push(
          `            <attribute><name>${attribute}</name><mutable>False</mutable><input_type>${kind}</input_type>` +
            `<default_value></default_value><values>${kind === 'number' ? '1;1000000000;1' : ''}</values></attribute>`,
        );
      lines.push('          </attributes>', '        </label>');
    }
    lines.push('      </labels>', '    </task>', '  </meta>');
    const own = byImage(found);
    for (const [id, { path, width, height }] of images.entries()) {
      lines.push(`  <image id="${id}" name="${xml(path)}" width="${width}" height="${height}">`);
      for (const { category, box, attributes } of own[id] ?? []) {
        const [left, top] = [pixels(box.x), pixels(box.y)];
        const [right, bottom] = [pixels(box.x + box.width), pixels(box.y + box.height)];
        lines.push(
          `    <box label="${xml(categories[category]?.name ?? '')}" source="auto" occluded="0" xtl="${left}" ytl="${top}" xbr="${right}" ybr="${bottom}" z_order="0">`,
          ...Object.keys(ATTRIBUTES).map(
            (name) =>
              `      <attribute name="${name}">${xml(textOf(attributes[name as keyof Attributes]))}</attribute>`,
          ),
          '    </box>',
        );
      }
      lines.push('  </image>');
    }
    yield ['annotations.xml', `${[...lines, '</annotations>'].join('\n')}\n`];
  },
};
