import { event } from 'stele';
import { z } from 'zod';

const first = event(z.object({ email: z.email() }));
const newest = z.object({ email: z.email(), locale: z.enum(['de', 'en']) });

// # a new version without an upcaster
first.version(newest);
//    ^ TS2554 Expected 2-3 arguments, but got 1.

// # an upcaster that reads what the previous version did not have
first.version(newest, (v1) => ({ email: v1.mail, locale: 'en' }));
//                                         ^ TS2551 Property 'mail' does not exist on type '{ email: string; }'. Did you mean 'email'?

// # an upcaster that takes another type than the previous version's
first.version(newest, (v1: { mail: string }) => ({ email: v1.mail, locale: 'en' }));
//                    ^ TS2345 Argument of type '(v1: { mail: string; }) => { email: string; locale: "en"; }' is not assignable to parameter of type '(previous: { email: string; }) => { email: string; locale: "de" | "en"; }'.
//   | Types of parameters 'v1' and 'previous' are incompatible.
//   |   Property 'mail' is missing in type '{ email: string; }' but required in type '{ mail: string; }'.

// # an upcaster that leaves out a field
first.version(newest, (v1) => ({ email: v1.email }));
//                            ^ TS2741 Property 'locale' is missing in type '{ email: string; }' but required in type '{ email: string; locale: "de" | "en"; }'.

// # an upcaster with a wrong value
first.version(newest, (v1) => ({ ...v1, locale: 'fr' }));
//                                      ^ TS2322 Type '"fr"' is not assignable to type '"de" | "en"'.

// # an upcaster that still returns the previous version
first.version(newest, (v1) => v1);
//                            ^ TS2741 Property 'locale' is missing in type '{ email: string; }' but required in type '{ email: string; locale: "de" | "en"; }'.

// # an upcaster to the third version that takes the first
first
  .version(newest, (v1) => ({ ...v1, locale: 'en' }))
  .version(z.object({ mail: z.email() }), (v1: { email: string; username: string }) => ({
    //                                    ^ TS2345 Argument of type '(v1: { email: string; username: string; }) => { mail: string; }' is not assignable to parameter of type '(previous: { email: string; locale: "de" | "en"; }) => { mail: string; }'.
    //   | Types of parameters 'v1' and 'previous' are incompatible.
    //   |   Property 'username' is missing in type '{ email: string; locale: "de" | "en"; }' but required in type '{ email: string; username: string; }'.
    mail: v1.email,
  }));
