// The one way that text files are read: decoded strictly, errors name the line.
export { csvRecords, CsvParser, readCsv, type CsvRecord, type CsvTable } from './csv';
export { decodeFile, encodingName, readText, type TextOptions } from './decode';
export { readLines, textLines, type TextLine } from './lines';
