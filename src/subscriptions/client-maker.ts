import type { Transaction } from '../store/inline.ts';

/** The second argument of handlers: the connection, or what `client` makes of it, once for each. */
export function clientMaker(
  client: ((transaction: Transaction) => unknown) | undefined,
): (transaction: Transaction) => unknown {
  if (client === undefined) return (transaction) => transaction;
  const made = new WeakMap<Transaction, unknown>();
  return (transaction) => {
    if (!made.has(transaction)) made.set(transaction, client(transaction));
    return made.get(transaction);
  };
}
