// Preload for real OpenClaw (node --require): the names of the OpenAI hosts lead to the token
// endpoint on loopback, and nothing else leaves the machine.
//
// KALIT_LOOP_PORT  TLS port of the endpoint on 127.0.0.1 (its CA comes by NODE_EXTRA_CA_CERTS, so
//                  TLS is checked for real)
// KALIT_LOOP_HOSTS the names, comma separated
// KALIT_LOOP_LOG   file for one JSON line per redirected or refused connection
//
// The names resolve to a public-looking address because OpenClaw 2026.6.1 and later resolve first
// and refuse private addresses; only the connect itself is turned to loopback.
'use strict';

const dns = require('node:dns');
const fs = require('node:fs');
const net = require('node:net');
const { syncBuiltinESMExports } = require('node:module');

const PUBLIC_LOOKING = '11.22.33.44';
const port = Number(process.env.KALIT_LOOP_PORT);
const hosts = new Set(process.env.KALIT_LOOP_HOSTS.split(','));

const isOurs = (host) => hosts.has(String(host ?? '').toLowerCase().replace(/\.$/, ''));
const isLoopback = (host) =>
  !host || ['localhost', '::', '::1', '0.0.0.0'].includes(host) || /^(::ffff:)?127\./.test(host);

function note(entry) {
  if (!process.env.KALIT_LOOP_LOG) return;
  fs.appendFileSync(process.env.KALIT_LOOP_LOG, JSON.stringify({ pid: process.pid, ...entry }) + '\n');
}

const address = { address: PUBLIC_LOOKING, family: 4 };
const realLookup = dns.lookup;
dns.lookup = function lookup(host, options, callback) {
  const done = callback ?? options;
  if (!isOurs(host)) return realLookup.apply(dns, arguments);
  if (options?.all) process.nextTick(done, null, [address]);
  else process.nextTick(done, null, address.address, address.family);
  return {};
};
const realPromise = dns.promises.lookup;
dns.promises.lookup = async (host, options) => {
  if (!isOurs(host)) return realPromise.call(dns.promises, host, options);
  return options?.all ? [address] : address;
};

const realConnect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function connect(...given) {
  // node's own callers hand over an already normalized [options, callback]
  const normalized = Array.isArray(given[0]);
  const args = normalized ? given[0] : given;
  const options = args[0];
  if (options && typeof options === 'object' && !options.path) {
    const host = options.host ?? options.hostname;
    if (isOurs(host) || host === PUBLIC_LOOKING) {
      note({ redirected: host, port: options.port });
      const { hostname, lookup, localAddress, ...rest } = options;
      args[0] = { ...rest, host: '127.0.0.1', port };
    } else if (!isLoopback(host)) {
      note({ refused: host, port: options.port });
      const error = new Error(`connect ECONNREFUSED ${host}: this test stays on loopback`);
      process.nextTick(() => this.destroy(Object.assign(error, { code: 'ECONNREFUSED' })));
      return this;
    }
  }
  return realConnect.apply(this, normalized ? [args, ...given.slice(1)] : args);
};

// bundles import the functions by name; without this they would keep the real ones
syncBuiltinESMExports();
