import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { event } from './event.ts';

const first = z.object({ at: z.string() });
const second = z.object({ at: z.string(), room: z.string() });

describe('event', () => {
  it('has one version to begin with, without an upcaster', () => {
    const planned = event(first);
    expect(planned.versions).toEqual([{ schema: first, codec: undefined, upcast: undefined }]);
    expect(planned.storedName).toBeUndefined();
  });

  it('accepts everything when it is typed by hand', () => {
    const [version] = event<{ at: string }>().versions;
    expect(version?.schema['~standard'].validate({ any: 1 })).toEqual({ value: { any: 1 } });
  });

  it('keeps every version in order, each with its own upcaster and codec', () => {
    const codec = {
      encode: ({ at }: { at: string }) => at,
      decode: (at: string) => ({ at, room: '' }),
    };
    const planned = event(first).version(second, (v1) => ({ ...v1, room: 'a' }), codec);
    expect(planned.versions).toHaveLength(2);
    expect(planned.versions[1]?.upcast?.({ at: 'x' })).toEqual({ at: 'x', room: 'a' });
    expect(planned.versions[1]?.codec).toBe(codec);
    expect(planned.versions[0]?.codec).toBeUndefined();
  });

  it('does not change the event that a version or a name is added to', () => {
    const planned = event(first);
    planned.version(second, (v1) => ({ ...v1, room: 'a' }));
    planned.storedAs('planned');
    expect(planned.versions).toHaveLength(1);
    expect(planned.storedName).toBeUndefined();
  });

  it('keeps its stored name through versions, and its versions through a stored name', () => {
    const upcast = (v1: { at: string }): { at: string; room: string } => ({ ...v1, room: 'a' });
    const named = event(first).storedAs('planned').version(second, upcast);
    const renamed = event(first).version(second, upcast).storedAs('planned');
    for (const planned of [named, renamed]) {
      expect(planned.storedName).toBe('planned');
      expect(planned.versions).toHaveLength(2);
    }
  });

  it('cannot be changed', () => {
    const planned = event(first);
    expect(Object.isFrozen(planned)).toBe(true);
    expect(Object.isFrozen(planned.versions)).toBe(true);
  });
});
