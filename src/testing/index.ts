/**
 * Tests of aggregates without a database, for any test framework.
 *
 * @module
 */
export { given, type Given, type When } from './given.ts';
export { replay, type EventsOf, type StreamSettings } from './replay.ts';
