import { describe, expect, test } from 'vitest';
import { given, replay } from 'stele/testing';
import { User } from './user.ts';

const created = User.emit.UserCreated({
  email: 'ada@example.com',
  username: 'ada',
  hashedPassword: 'scrypt$salt$key',
});
const emailChanged = User.emit.EmailChanged({ email: 'ada@lovelace.org' });
const deactivated = User.emit.UserDeactivated();

describe('the state of a user', () => {
  test('after UserCreated and EmailChanged has the new e-mail address', () => {
    expect(replay(User, [created, emailChanged])).toEqual({
      status: 'active',
      email: 'ada@lovelace.org',
      username: 'ada',
    });
  });

  test('never holds the hash of the password', () => {
    expect(JSON.stringify(replay(User, [created]))).not.toContain('scrypt');
  });

  test('keeps address and name when the user is deactivated', () => {
    expect(replay(User, [created, deactivated])).toEqual({
      status: 'deactivated',
      email: 'ada@example.com',
      username: 'ada',
    });
  });
});

describe('register', () => {
  const input = { email: 'ada@example.com', username: 'ada', hashedPassword: 'scrypt$salt$key' };

  test('creates a user', async () => {
    await given(User, []).when('register', input).then([created]);
  });

  test('is rejected for somebody who is registered, even if deactivated', async () => {
    await given(User, [created]).when('register', input).thenRejected('AlreadyRegistered');
    await given(User, [created, deactivated])
      .when('register', input)
      .thenRejected('AlreadyRegistered');
  });

  test('refuses what is no address or no name', async () => {
    const wrong = given(User, []).when('register', { ...input, email: 'ada', username: ' ' });
    await expect(wrong.then([])).rejects.toMatchObject({
      code: 'validation',
      issues: [{ path: ['email'] }, { path: ['username'] }],
    });
  });
});

describe('changeEmail', () => {
  test('changes it', async () => {
    await given(User, [created])
      .when('changeEmail', { email: 'ada@lovelace.org' })
      .then([emailChanged]);
  });

  test('stores nothing when it is the same', async () => {
    await given(User, [created, emailChanged])
      .when('changeEmail', { email: 'ada@lovelace.org' })
      .then([]);
  });

  test('is rejected unless the user is active', async () => {
    await given(User, [])
      .when('changeEmail', { email: 'ada@lovelace.org' })
      .thenRejected('NotActive', { status: 'absent' });
    await given(User, [created, deactivated])
      .when('changeEmail', { email: 'ada@lovelace.org' })
      .thenRejected('NotActive', { status: 'deactivated' });
  });
});

describe('rename', () => {
  test('changes the name, without the spaces around it', async () => {
    await given(User, [created])
      .when('rename', { username: ' countess ' })
      .then([User.emit.UsernameChanged({ username: 'countess' })]);
  });

  test('stores nothing when it is the same', async () => {
    await given(User, [created]).when('rename', { username: 'ada' }).then([]);
  });

  test('is rejected unless the user is active', async () => {
    await given(User, [created, deactivated])
      .when('rename', { username: 'ghost' })
      .thenRejected('NotActive', { status: 'deactivated' });
  });
});

describe('deactivate', () => {
  test('deactivates, once', async () => {
    await given(User, [created]).when('deactivate', {}).then([deactivated]);
    await given(User, [created, deactivated])
      .when('deactivate', {})
      .thenRejected('NotActive', { status: 'deactivated' });
  });

  test('is rejected where there is nobody', async () => {
    await given(User, []).when('deactivate', {}).thenRejected('NotActive', { status: 'absent' });
  });
});
