// Faces Through Time: train/1900/PORTRAIT.png, test/1900/PORTRAIT.png, or the decades' folders alone. A decade may be written 1900s; the label is 1900.
import path from 'node:path';
import { look, type Layout } from './files.js';
import { hasSplits, readLabelFolders } from './splits.js';

const DECADE = /^(1[0-9]|20)\d0s?$/;
const decade = (folder: string): string => (DECADE.test(folder) ? folder.replace(/s$/, '') : folder);

export const faces: Layout = {
  async recognize(location, isFolder, { wanted, exclude }) {
    if (!isFolder) return undefined;
    const decades = async (folder: string): Promise<boolean> => {
      const { folders } = await look(folder);
      return folders.length > 0 && folders.every((name) => DECADE.test(name));
    };
    if ((await hasSplits(location)) && (await decades(path.join(location, 'train'))))
      return { read: async () => readLabelFolders(location, 'train', decade, exclude) };
    // by themselves such folders are label folders like any others, named as they are; only who asks for faces has them read as decades
    if (wanted && (await decades(location)))
      return { read: async () => readLabelFolders(location, '', decade, exclude) };
    return undefined;
  },
};
