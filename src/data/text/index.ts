// Reading text files: strict decoding, and errors that name the line.
export { csvRecords, CsvParser, delimiterOf, readCsv, type CsvRecord, type CsvTable, type Delimiter } from './csv.js';
export { decodeFile, encodingName, readText, type TextOptions } from './decode.js';
export { readLines, textLines, type TextLine } from './lines.js';
