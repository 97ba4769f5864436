// The class names of a class-conditional model. Those of a UNet are its labels. A DiT's classes may have several each ("tench, Tinca tinca"), and two
// classes may share one ("crane").
import { DiffmineError } from '../util/errors.js';
import { isObject, type JsonObject } from './json.js';

/** Labels of a UNet in the order of ids, from model_index.json's id2label. The null class, the last one, has none. @throws MODEL_INVALID */
export function readLabels(location: string, index: JsonObject, numClassEmbeds: number): string[] {
  const map = index.id2label;
  if (!isObject(map))
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${location}' is conditioned on classes, but its model_index.json has no id2label.`,
      'Add it: "id2label": {"0": "first label", "1": "second label"}',
    );
  const count = Object.keys(map).length;
  if (count + 1 !== numClassEmbeds) {
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${location}' has ${count} labels in id2label, but num_class_embeds = ${numClassEmbeds}.`,
      'num_class_embeds is the number of labels + 1: the last class is the null condition.',
    );
  }
  const labels = Array.from({ length: count }, (_, id) => map[String(id)]);
  const wrong = labels.findIndex((label) => typeof label !== 'string' || label === '');
  if (wrong >= 0)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The id2label of '${location}' has no name for class ${wrong}.`,
      `Ids go from 0 to ${count - 1}, each with a name.`,
    );
  const names = labels as string[];
  const twice = names.find((label, id) => names.indexOf(label) !== id);
  if (twice !== undefined)
    throw new DiffmineError('MODEL_INVALID', `The id2label of '${location}' has the name '${twice}' twice.`);
  return names;
}

export interface ClassNames {
  /** a name for each class, in the order of ids, no two the same */
  labels: string[];
  /** all names of each class */
  names: string[][];
}

/**
 * From a DiTPipeline's id2label, whose names are separated by commas. A class is called by its first name, or by all of them where another class has the
 * first as well, or by its number. Without id2label all are called by their numbers.
 *
 * @throws MODEL_INVALID where id2label does not fit `count` classes
 */
export function readClassNames(location: string, id2label: unknown, count: number): ClassNames {
  const ids = Array.from({ length: count }, (_, id) => String(id));
  if (!isObject(id2label) || Object.keys(id2label).length === 0) return { labels: ids, names: ids.map((id) => [id]) };
  const given = Object.keys(id2label).length;
  if (given !== count)
    throw new DiffmineError(
      'MODEL_INVALID',
      `The model '${location}' has ${given} labels in id2label, but num_embeds_ada_norm = ${count}.`,
      'Every class needs its names.',
    );
  const whole = ids.map((id) => {
    const label = id2label[id];
    if (typeof label !== 'string' || label.trim() === '')
      throw new DiffmineError(
        'MODEL_INVALID',
        `The id2label of '${location}' has no name for class ${id}.`,
        `Ids go from 0 to ${count - 1}, each with its names.`,
      );
    return label.trim();
  });
  const names = whole.map((label) => [
    ...new Set(
      label
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== ''),
    ),
  ]);
  const all = names.map((own, id) => [...new Set([...own, whole[id] ?? ''])]);
  const users = usersOf(all);
  const numbers = new Set(ids);
  const own = (name: string): boolean => users.get(name)?.length === 1 && !numbers.has(name);
  const labels = all.map(([first = '', ...others], id) => [first, others.at(-1) ?? first].find(own) ?? String(id));
  return { labels, names: all };
}

/** The classes that have each name. */
function usersOf(names: readonly (readonly string[])[]): Map<string, number[]> {
  const users = new Map<string, number[]>();
  for (const [id, own] of names.entries()) for (const name of own) users.set(name, [...(users.get(name) ?? []), id]);
  return users;
}

/** As folders are often called: golden_retriever, Golden Retriever. */
const loosely = (name: string): string => name.normalize('NFC').replaceAll('_', ' ').toLowerCase();

/**
 * The classes that a name may mean, best one: by label, then by any of the class's names, then by its number. Before NFC in each, and names at last without
 * regard to case, with _ for a space.
 */
export function classFinder({
  labels = [],
  classNames,
}: {
  labels?: readonly string[] | undefined;
  classNames?: readonly (readonly string[])[] | undefined;
}): (name: string) => readonly number[] {
  const composed = (name: string): string => name.normalize('NFC');
  const exactly = (name: string): string => name;
  const single = labels.map((label) => [label]);
  const ways: [names: readonly (readonly string[])[], form: (name: string) => string][] = [
    [single, exactly],
    [single, composed],
  ];
  if (classNames)
    ways.push([classNames, composed], [classNames, loosely], [labels.map((_, id) => [String(id)]), exactly]);
  const tables = ways.map(([names, form]) => [usersOf(names.map((own) => [...new Set(own.map(form))])), form] as const);
  return (name) => {
    for (const [users, form] of tables) {
      const found = users.get(form(name));
      if (found) return found;
    }
    return [];
  };
}
