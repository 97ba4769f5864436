// What files say of pictures, by picture. Files name pictures in different ways; a data set asks with its own path of the picture.

/** `path`: as the data set does. `name`: perhaps without the folders it stands in, as NIH's and COCO's files do, whose names are unique. */
export type Naming = 'path' | 'name';

/** By picture; `get` finds what a file says of a picture of a data set, the rest of the map is as the file names things. */
export class PictureTable<T> extends Map<string, T[]> {
  constructor(private readonly naming: Naming) {
    super();
  }

  add(image: string, item: T): void {
    const items = super.get(image);
    if (items) items.push(item);
    else this.set(image, [item]);
  }

  /** @param image its path in the data set, forward slashes; where the file names pictures by name, the longest end of the path that it knows */
  override get(image: string): T[] | undefined {
    for (let name = image; ; name = name.slice(name.indexOf('/') + 1)) {
      const found = super.get(name);
      if (found || this.naming === 'path' || !name.includes('/')) return found;
    }
  }
}
