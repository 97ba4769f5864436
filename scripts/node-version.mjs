// Whether this Node can run diffmine. In syntax that old ones read, and without imports: their users are told by it.

/** As `engines` in package.json. */
const oldest = [20, 19];

/** @returns what is wrong with a version of Node and what to do, or undefined if it will do */
export function wrongNode(version = process.versions.node) {
  const [major, minor] = version.split('.').map(Number);
  if (major > oldest[0] || (major === oldest[0] && minor >= oldest[1])) return undefined;
  return {
    message: `diffmine needs Node ${oldest.join('.')} or later; this is Node ${version} (${process.execPath}).`,
    hint: 'Install a newer Node: https://nodejs.org/en/download (Debian 12 and Ubuntu 24.04 have Node 18).',
  };
}
