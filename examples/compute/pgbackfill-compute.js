// The program's side of `compute:`: write a function of one row, and call answerRequests() with it.
//
//   const { answerRequests, Later, Refuse, SKIP } = require('./pgbackfill-compute.js');
//   answerRequests(async (read) => ({ email_hash: await hash(read.email) }));
//
// The function gets what the file names under `read`, and returns, or promises, the columns to set, or SKIP to leave the
// row as it is. It throws new Refuse('why') for a row that cannot be done, and new Later(milliseconds) when the service
// behind it wants to be left alone. Any other error ends the program; pgbackfill starts it again and sends the rows once
// more. Log to standard error; standard output belongs to the answers. Requests are answered at the same time: let
// `in_flight` in the file say how many.
'use strict';

const readline = require('node:readline');

const SKIP = Symbol('skip');
class Refuse extends Error {}
class Later extends Error {
  constructor(milliseconds) {
    super(`later, in ${milliseconds} ms`);
    this.milliseconds = milliseconds;
  }
}

async function answerRow(computeRow, read) {
  try {
    const written = await computeRow(read);
    return written === SKIP ? { skip: true } : { write: written };
  } catch (error) {
    if (error instanceof Refuse) return { error: error.message };
    throw error;
  }
}

async function answer(computeRow, request) {
  try {
    const rows = await Promise.all(request.rows.map((row) => answerRow(computeRow, row.read)));
    return { id: request.id, rows };
  } catch (error) {
    if (error instanceof Later) return { id: request.id, later: error.milliseconds };
    throw error;
  }
}

function answerRequests(computeRow) {
  const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
  lines.on('line', async (line) => {
    const said = await answer(computeRow, JSON.parse(line));
    process.stdout.write(JSON.stringify(said) + '\n');
  });
}

module.exports = { answerRequests, Later, Refuse, SKIP };
