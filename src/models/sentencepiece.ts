// SentencePiece's own files (spiece.model): what they say of a unigram model, in the form that tokenizer.json has it. The fields are those of
// sentencepiece_model.proto; others are skipped.
import { DiffmineError } from '../util/errors.js';

/** As in tokenizer.json. */
export interface UnigramModel {
  model: { vocab: [string, number][]; unk_id: number; byte_fallback: boolean };
  normalizer: { type: 'Precompiled'; precompiled_charsmap: string } | null;
}

const MODEL = { pieces: 1, trainer: 2, normalizer: 3 };
const PIECE = { text: 1, score: 2, type: 3 };
const TRAINER = { kind: 3, byteFallback: 35 };
const CHARSMAP = 2;
const UNIGRAM = 1;
const UNKNOWN = 2;

/** @param file named in errors @throws MODEL_INVALID, MODEL_UNSUPPORTED */
export function readSentencePiece(bytes: Buffer, file: string): UnigramModel {
  const damaged = (): DiffmineError =>
    new DiffmineError('MODEL_INVALID', `'${file}' is not a model of SentencePiece, or is damaged.`);
  const vocab: [string, number][] = [];
  let unknown = -1;
  let kind = UNIGRAM;
  let byteFallback = false;
  let charsmap = '';
  for (const [field, value] of fieldsOf(bytes, damaged)) {
    if (typeof value === 'number') continue;
    const inner = fieldsOf(value, damaged);
    if (field === MODEL.pieces) {
      const piece = new Map(inner);
      const [text, score, type] = [piece.get(PIECE.text), piece.get(PIECE.score), piece.get(PIECE.type)];
      if (type === UNKNOWN) unknown = vocab.length;
      vocab.push([
        Buffer.isBuffer(text) ? text.toString('utf8') : '',
        Buffer.isBuffer(score) ? score.readFloatLE() : 0,
      ]);
    } else if (field === MODEL.trainer) {
      const trainer = new Map(inner);
      kind = Number(trainer.get(TRAINER.kind) ?? UNIGRAM);
      byteFallback = trainer.get(TRAINER.byteFallback) === 1;
    } else if (field === MODEL.normalizer) {
      const table = new Map(inner).get(CHARSMAP);
      if (Buffer.isBuffer(table)) charsmap = table.toString('base64');
    }
  }
  if (vocab.length === 0) throw damaged();
  if (kind !== UNIGRAM)
    throw new DiffmineError('MODEL_UNSUPPORTED', `'${file}' is not a unigram model, as those of T5 are.`);
  return {
    model: { vocab, unk_id: unknown, byte_fallback: byteFallback },
    normalizer: charsmap === '' ? null : { type: 'Precompiled', precompiled_charsmap: charsmap },
  };
}

/** The fields of a protobuf message: numbers of varints, else bytes. */
function fieldsOf(bytes: Buffer, damaged: () => DiffmineError): [field: number, value: number | Buffer][] {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      // ten bytes at most: negative numbers, which are rounded here, are not read
      if (byte === undefined || scale >= 2 ** 70) throw damaged();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw damaged();
    return bytes.subarray(at, (at += length));
  };
  const fields: [number, number | Buffer][] = [];
  while (at < bytes.length) {
    const tag = varint();
    const type = tag % 8;
    const value =
      type === 0 ? varint() : type === 1 ? take(8) : type === 2 ? take(varint()) : type === 5 ? take(4) : undefined;
    if (value === undefined) throw damaged();
    fields.push([Math.floor(tag / 8), value]);
  }
  return fields;
}
