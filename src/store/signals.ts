/** What happens in a store's own process, for those who would otherwise have to ask the database. */
export interface Signals {
  /** Something was appended. */
  appended(): void;
  /** A subscription has come to a position, in one of its partitions. */
  progressed(subscription: string, partition: number, position: number): void;
  /** How far a partition has come here; 0 when it does not run here. */
  progressOf(subscription: string, partition: number): number;
  /** Forgets a partition that does not run here any more. */
  forget(subscription: string, partition: number): void;
  onAppended(listener: () => void): () => void;
  onProgress(listener: (subscription: string) => void): () => void;
}

export function signals(): Signals {
  const appendListeners = new Set<() => void>();
  const progressListeners = new Set<(subscription: string) => void>();
  const progress = new Map<string, number>();
  const keyOf = (subscription: string, partition: number): string => `${partition} ${subscription}`;
  return {
    appended: () => {
      for (const listener of appendListeners) listener();
    },
    progressed: (subscription, partition, position) => {
      progress.set(keyOf(subscription, partition), position);
      for (const listener of progressListeners) listener(subscription);
    },
    progressOf: (subscription, partition) => progress.get(keyOf(subscription, partition)) ?? 0,
    forget: (subscription, partition) => {
      progress.delete(keyOf(subscription, partition));
    },
    onAppended: (listener) => {
      appendListeners.add(listener);
      return () => {
        appendListeners.delete(listener);
      };
    },
    onProgress: (listener) => {
      progressListeners.add(listener);
      return () => {
        progressListeners.delete(listener);
      };
    },
  };
}
