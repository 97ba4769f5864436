export function wrongNode(version?: string): { message: string; hint: string } | undefined;
