// The certified authorization server of the journeys: oidc-provider with one native public client,
// PKCE, the device flow, rotation with reuse detection, revocation, JWT access tokens that carry OpenAI's claims,
// and a consent page of its own with real buttons.
//
// node oidc-provider.mjs --modules DIR --log FILE [--ttl SECONDS] [--openai-errors]
//
// --modules        the directory whose node_modules holds oidc-provider
// --log            one JSON line a request, ids from 1; secrets appear as Kalit's fingerprints
// --openai-errors  refused refreshes are told as OpenAI tells them (401, error.code)
//
// Prints {"url":…} once it listens, and ends when its stdin closes.

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({
  options: {
    modules: { type: 'string' },
    log: { type: 'string' },
    ttl: { type: 'string', default: '120' },
    'openai-errors': { type: 'boolean', default: false },
  },
});
const ttl = Number(flags.ttl);
const find = createRequire(resolve(flags.modules, 'package.json'));
const { Provider } = await import(pathToFileURL(find.resolve('oidc-provider')));

const CLIENT_ID = 'app_EMoamEEZ73f0CkXaXp7hrann';
const RESOURCE = 'urn:kalit:test-api';
const SCOPES = 'openid profile email offline_access';
const ACCOUNTS = {
  'ada@example.com': { plan: 'plus', accountId: 'acct-demo-ada', userId: 'user-demo-ada' },
  'grace@example.com': { plan: 'pro', accountId: 'acct-demo-grace', userId: 'user-demo-grace' },
};

const fingerprint = (secret) =>
  createHash('sha256').update(`kalit:1:${secret ?? ''}`).digest('hex').slice(0, 16);

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: CLIENT_ID,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      redirect_uris: ['http://127.0.0.1/auth/callback', 'http://localhost/auth/callback'],
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
  cookies: { keys: [randomBytes(16).toString('hex')] },
  pkce: { required: () => true },
  scopes: SCOPES.split(' '),
  claims: { openid: ['sub'], email: ['email'], profile: ['name'] },
  conformIdTokenClaims: false,
  rotateRefreshToken: true,
  issueRefreshToken: async () => true,
  expiresWithSession: async () => false,
  // consent is asked for at every sign-in: only the answer just given counts
  loadExistingGrant: async (ctx) => {
    const id = ctx.oidc.result?.consent?.grantId;
    return id ? ctx.oidc.provider.Grant.find(id) : undefined;
  },
  findAccount: async (_ctx, id) =>
    id in ACCOUNTS
      ? { accountId: id, claims: async () => ({ sub: ACCOUNTS[id].userId, email: id, name: id }) }
      : undefined,
  extraTokenClaims: async (_ctx, token) => {
    const account = ACCOUNTS[token.accountId];
    return {
      'https://api.openai.com/auth': {
        chatgpt_account_id: account.accountId,
        chatgpt_plan_type: account.plan,
        chatgpt_user_id: account.userId,
      },
      'https://api.openai.com/profile': { email: token.accountId },
    };
  },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    revocation: { enabled: true, allowedPolicy: async () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => RESOURCE,
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope: SCOPES,
        audience: RESOURCE,
        accessTokenTTL: ttl,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  ttl: {
    AccessToken: ttl,
    AuthorizationCode: 60,
    Grant: 14 * 86400,
    IdToken: ttl,
    Interaction: 600,
    RefreshToken: 14 * 86400,
    Session: 3600,
  },
});

// Why a refresh was refused stands only in the event, never in the answer.
const reasons = new WeakMap();
provider.on('grant.error', (ctx, error) => reasons.set(ctx, error.error_detail ?? error.message));

const OPENAI_CODES = [
  [/already used/, 'refresh_token_reused', 'Your refresh token has already been used to generate a new access token.'],
  [/expired/, 'refresh_token_expired', 'Your refresh token has expired.'],
];
function asOpenai(reason) {
  const [, code, message] = OPENAI_CODES.find(([pattern]) => pattern.test(reason)) ?? [
    null,
    'refresh_token_invalidated',
    'Your session has been invalidated.',
  ];
  return { error: { message: `${message} Please sign in again.`, type: 'invalid_request_error', param: null, code } };
}

let requests = 0;
function log(ctx, detail) {
  const entry = {
    request: ++requests,
    at: Date.now(),
    method: ctx.method,
    path: ctx.path,
    status: ctx.status,
    ...detail,
  };
  if (flags.log) appendFileSync(flags.log, JSON.stringify(entry) + '\n');
}

function detailOf(ctx) {
  const sent = ctx.oidc?.params ?? {};
  switch (ctx.oidc?.route) {
    case 'token': {
      const reason = reasons.get(ctx);
      const secret = sent.grant_type === 'refresh_token' ? sent.refresh_token : sent.code;
      return {
        kind: 'token',
        grant: sent.grant_type,
        sent: fingerprint(secret),
        outcome: reason ?? 'issued',
        account: ctx.oidc.account?.accountId,
        ...(ctx.body?.refresh_token && { issued: fingerprint(ctx.body.refresh_token) }),
      };
    }
    case 'revocation':
      return { kind: 'revoke', by: 'client', sent: fingerprint(sent.token) };
    case 'authorization':
      return { kind: 'authorize', clientId: sent.client_id, redirectUri: sent.redirect_uri, state: fingerprint(sent.state) };
    default:
      return { kind: ctx.oidc?.route ?? 'other' };
  }
}

provider.use(async (ctx, next) => {
  const match = /^\/interaction\/([\w-]+)$/.exec(ctx.path);
  if (match) {
    await interact(ctx);
    return;
  }
  await next();
  const detail = detailOf(ctx);
  if (flags['openai-errors'] && detail.grant === 'refresh_token' && ctx.status === 400) {
    ctx.body = asOpenai(detail.outcome);
    ctx.status = 401;
  }
  log(ctx, detail);
});

async function interact(ctx) {
  if (ctx.method === 'GET') {
    await provider.interactionDetails(ctx.req, ctx.res);
    ctx.type = 'html';
    ctx.body = consentPage();
    log(ctx, { kind: 'consent' });
    return;
  }
  let body = '';
  for await (const chunk of ctx.req) body += chunk;
  const form = new URLSearchParams(body);
  const allowed = form.get('decision') === 'allow';
  const result = allowed
    ? await consent(form.get('account'))
    : { error: 'access_denied', error_description: 'The user denied the request' };
  const location = await provider.interactionResult(ctx.req, ctx.res, result);
  ctx.redirect(location);
  ctx.status = 303;
  log(ctx, { kind: 'decision', decision: allowed ? 'allow' : 'deny', account: form.get('account') });
}

async function consent(account) {
  const grant = new provider.Grant({ accountId: account, clientId: CLIENT_ID });
  grant.addOIDCScope(SCOPES);
  grant.addResourceScope(RESOURCE, SCOPES);
  return { login: { accountId: account }, consent: { grantId: await grant.save() } };
}

function consentPage() {
  const options = Object.keys(ACCOUNTS)
    .map((email) => `<option value="${email}">${email}</option>`)
    .join('');
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Allow access?</title>
    <h1>Allow this program to use your account?</h1>
    <form method="post">
      <p><label for="account">Account</label> <select id="account" name="account">${options}</select></p>
      <p><button id="allow" name="decision" value="allow">Allow</button>
         <button id="deny" name="decision" value="deny">Deny</button></p>
    </form></html>`;
}

server.on('request', provider.callback());
console.log(JSON.stringify({ url: issuer }));

// whoever started this is gone when the pipe closes
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
