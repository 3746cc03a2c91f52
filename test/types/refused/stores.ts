import { aggregate, event, openStore } from 'stele';
import { z } from 'zod';
import { Order, User } from './user.ts';

const counted = {
  events: { Counted: event(z.object({})) },
  initialState: () => 0,
  evolve: { Counted: (count: number) => count + 1 },
};
const renamed = {
  events: { Renamed: event(z.object({})).storedAs('OrderPlaced') },
  initialState: () => 0,
  evolve: { Renamed: (count: number) => count + 1 },
};

// # two aggregates with one category
void openStore({ aggregates: [User, Order, aggregate('user', counted)] });
//                            ^ TS2741 Property '__stele' is missing in type 'Aggregate<"user", { UserCreated: EventBuilder<{ email: string; username: string; }, { email: string; username: string; }, undefined>; EmailChanged: EventBuilder<{ email: string; }, { email: string; }, undefined>; }, UserState, { ...; }, { ...; }, undefined>' but required in type 'SteleTypeError<"Two aggregates have the category 'user'">'.
//                                         ^ TS2741 Property '__stele' is missing in type 'Aggregate<"user", { Counted: EventBuilder<Record<string, never>, Record<string, never>, undefined>; }, number, SchemaMap, SchemaMap, Schema | undefined>' but required in type 'SteleTypeError<"Two aggregates have the category 'user'">'.

// # two events of one name
void openStore({ aggregates: [User, aggregate('a', counted), aggregate('b', counted)] });
//                                  ^ TS2741 Property '__stele' is missing in type 'Aggregate<"a", { Counted: EventBuilder<Record<string, never>, Record<string, never>, undefined>; }, number, SchemaMap, SchemaMap, Schema | undefined>' but required in type 'SteleTypeError<"Two events are stored as 'Counted': tell them apart with storedAs()">'.
//                                                           ^ TS2741 Property '__stele' is missing in type 'Aggregate<"b", { Counted: EventBuilder<Record<string, never>, Record<string, never>, undefined>; }, number, SchemaMap, SchemaMap, Schema | undefined>' but required in type 'SteleTypeError<"Two events are stored as 'Counted': tell them apart with storedAs()">'.

// # an event stored under the name of another
void openStore({ aggregates: [User, Order, aggregate('folder', renamed)] });
//                                  ^ TS2741 Property '__stele' is missing in type 'Aggregate<"order", { OrderPlaced: EventBuilder<{ total: number; }, { total: number; }, undefined>; }, { total: number; }, {}, { place: ZodObject<{ total: ZodNumber; }, $strip>; }, ZodObject<...>>' but required in type 'SteleTypeError<"Two events are stored as 'OrderPlaced': tell them apart with storedAs()">'.
//                                         ^ TS2741 Property '__stele' is missing in type 'Aggregate<"folder", { Renamed: EventBuilder<Record<string, never>, Record<string, never>, "OrderPlaced">; }, number, SchemaMap, SchemaMap, Schema | undefined>' but required in type 'SteleTypeError<"Two events are stored as 'OrderPlaced': tell them apart with storedAs()">'.

// # something else than an aggregate
void openStore({ aggregates: [User, 'order'] });
//                                  ^ TS2322 Type 'string' is not assignable to type 'AnyAggregate'.
