/**
 * So many transactions of application code at a time. Handlers that read the store need connections beside
 * the one of their transaction, which they hold meanwhile: with all of them lent, none would go on.
 */
export function slots(count: number): <T>(task: () => Promise<T>) => Promise<T> {
  let free = count;
  const line: (() => void)[] = [];
  return async (task) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => line.push(resolve));
    try {
      return await task();
    } finally {
      const next = line.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}
