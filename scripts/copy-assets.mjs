// Copies what tsc does not: the report's page, from src/report/page to dist/report/page. Run after every compile.
import { cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../', import.meta.url);
cpSync(fileURLToPath(new URL('src/report/page', root)), fileURLToPath(new URL('dist/report/page', root)), { recursive: true });
