// What the type checker does not see: floating promises, unused names, conditions that are always true. Layout is left alone.
// A rule that is off has its reason beside it.
import eslint from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

const nodeGlobals = {
  console: 'readonly',
  process: 'readonly',
  URL: 'readonly',
  fetch: 'readonly',
  Buffer: 'readonly',
  setTimeout: 'readonly',
  clearTimeout: 'readonly',
  setInterval: 'readonly',
  clearInterval: 'readonly',
  AbortSignal: 'readonly',
  AbortController: 'readonly',
  performance: 'readonly',
};

/** For rules that take a quarter of the time and have found nothing so far: only npm run test:all has them. */
const nightly = process.env.DIFFMINE_TEST_ALL === '1' ? 'error' : 'off';

export default defineConfig(
  { ignores: ['dist*/', 'build*/', 'node_modules/', 'demo-run*/', 'demo-train/', 'coverage/', 'docs/demo-report/'] },
  eslint.configs.recommended,
  {
    rules: {
      eqeqeq: 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'prefer-const': 'error',
    },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { project: './test/tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      // interface ScanOptions extends z.input<typeof SCAN> {}: a name for the type of a schema
      '@typescript-eslint/no-empty-object-type': ['error', { allowInterfaces: 'with-single-extends' }],
      '@typescript-eslint/no-unsafe-class-instance-assignment': nightly,
      '@typescript-eslint/no-unsafe-enum-assignment': nightly,
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // Hooks<SampleEvent> names the events of a stage, also where they are those of the default
      '@typescript-eslint/no-unnecessary-type-arguments': 'off',
      // `async` also turns what a function throws into a rejection, and fits it to an interface that returns a promise
      '@typescript-eslint/require-await': 'off',
      // `() => hooks.onProgress?.(event)` where a function is wanted that returns nothing
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true, ignoreVoidOperator: true },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // a value that is absent fails the test, as it should; what beforeAll sets is absent in afterAll if it failed
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      // jest's matchers (expect.any, toMatchObject) and modules replaced by jest.requireActual are of type any
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      // a rejection is given the type of the error that the test expects
      '@typescript-eslint/use-unknown-in-catch-callback-variable': 'off',
      // cells of tables are unknown, and printed
      '@typescript-eslint/no-base-to-string': 'off',
      // of a callback that may return a value
      '@typescript-eslint/no-invalid-void-type': 'off',
      // tests damage files by removing members
      '@typescript-eslint/no-dynamic-delete': 'off',
      // jest spies on methods: expect(object.method)
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['**/*.mjs', 'bin/*.js', 'src/**/project-worker.js'],
    languageOptions: { sourceType: 'module', globals: nodeGlobals },
  },
  {
    files: ['**/*.cjs', 'src/**/page/*.js'],
    languageOptions: {
      sourceType: 'commonjs',
      globals: {
        ...nodeGlobals,
        require: 'readonly',
        module: 'writable',
        exports: 'writable',
        __dirname: 'readonly',
        globalThis: 'readonly',
      },
    },
  },
);
