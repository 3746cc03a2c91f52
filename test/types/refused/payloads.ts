import { event } from 'stele';
import { z } from 'zod';

// # a Date in a payload
event(z.object({ at: z.date() }));
//    ^ TS2741 Property '__stele' is missing in type 'ZodObject<{ at: ZodDate; }, $strip>' but required in type 'SteleTypeError<"at: JSON cannot carry a Date: use an ISO string, or a codec">'.

// # a bigint, deep in a payload
event(z.object({ order: z.object({ lines: z.array(z.object({ cents: z.bigint() })) }) }));
//    ^ TS2741 Property '__stele' is missing in type 'ZodObject<{ order: ZodObject<{ lines: ZodArray<ZodObject<{ cents: ZodBigInt; }, $strip>>; }, $strip>; }, $strip>' but required in type 'SteleTypeError<"order.lines[].cents: JSON cannot carry a bigint: use a string, or a codec">'.

// # a Map in a payload
event(z.object({ tags: z.map(z.string(), z.string()) }));
//    ^ TS2741 Property '__stele' is missing in type 'ZodObject<{ tags: ZodMap<ZodString, ZodString>; }, $strip>' but required in type 'SteleTypeError<"tags: JSON cannot carry a Map, Set, RegExp, Promise or binary data: use a codec">'.

// # undefined in an array
event(z.object({ lines: z.array(z.string().or(z.undefined())) }));
//    ^ TS2741 Property '__stele' is missing in type 'ZodObject<{ lines: ZodArray<ZodUnion<[ZodString, ZodUndefined]>>; }, $strip>' but required in type 'SteleTypeError<"lines[]: JSON cannot carry undefined here: use null, or an optional property">'.

// # a function in a payload
event(z.object({ format: z.custom<() => string>() }));
//    ^ TS2741 Property '__stele' is missing in type 'ZodObject<{ format: ZodCustom<() => string, () => string>; }, $strip>' but required in type 'SteleTypeError<"format: JSON cannot carry a function or a symbol">'.

// # a Date that a schema's transformation makes
event(z.object({ at: z.string().transform((text) => new Date(text)) }));
//    ^ TS2741 Property '__stele' is missing in type 'ZodObject<{ at: ZodPipe<ZodString, ZodTransform<Date, string>>; }, $strip>' but required in type 'SteleTypeError<"at: JSON cannot carry a Date: use an ISO string, or a codec">'.

// # a Date in the next version
event(z.object({ at: z.string() })).version(z.object({ at: z.date() }), ({ at }) => ({
  //                                        ^ TS2741 Property '__stele' is missing in type 'ZodObject<{ at: ZodDate; }, $strip>' but required in type 'SteleTypeError<"at: JSON cannot carry a Date: use an ISO string, or a codec">'.
  at: new Date(at),
}));

// # a Date and a bigint in a payload typed by hand
event<{ at: Date; money: { cents: bigint } }>();
//    ^ TS2344 Type '{ at: Date; money: { cents: bigint; }; }' does not satisfy the constraint '{ at: SteleTypeError<"JSON cannot carry a Date: use an ISO string, or a codec">; money: { cents: SteleTypeError<"JSON cannot carry a bigint: use a string, or a codec">; }; }'.
//   | Types of property 'at' are incompatible.
//   |   Property '__stele' is missing in type 'Date' but required in type 'SteleTypeError<"JSON cannot carry a Date: use an ISO string, or a codec">'.

// # a Date in an interface that contains itself
interface Comment {
  at: Date;
  replies: Comment[];
}
event<Comment>();
//    ^ TS2344 Type 'Comment' does not satisfy the constraint '{ at: SteleTypeError<"JSON cannot carry a Date: use an ISO string, or a codec">; replies: { at: SteleTypeError<"JSON cannot carry a Date: use an ISO string, or a codec">; replies: ...[]; }[]; }'.
//   | Types of property 'at' are incompatible.
//   |   Property '__stele' is missing in type 'Date' but required in type 'SteleTypeError<"JSON cannot carry a Date: use an ISO string, or a codec">'.
event(z.custom<Comment>());
//    ^ TS2741 Property '__stele' is missing in type 'ZodCustom<Comment, Comment>' but required in type 'SteleTypeError<"at: JSON cannot carry a Date: use an ISO string, or a codec" | "replies[].at: JSON cannot carry a Date: use an ISO string, or a codec">'.

// # a codec that encodes to something JSON cannot carry either
event(z.object({ at: z.date() }), {
  encode: ({ at }) => ({ at }),
  //                     ^ TS2322 Type 'Date' is not assignable to type 'JsonValue | undefined'.
  //   | Type 'Date' is not assignable to type 'JsonObject'.
  //   |   Index signature for type 'string' is missing in type 'Date'.
  decode: () => ({ at: new Date() }),
});

// # a codec that decodes to something else than the payload
event(z.object({ at: z.date() }), {
  encode: ({ at }) => at.toISOString(),
  decode: (at) => ({ at }),
  //                 ^ TS2322 Type 'string' is not assignable to type 'Date'.
});
