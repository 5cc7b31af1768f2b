// Preload for every Node process of the journeys (NODE_OPTIONS=--require, so that children get it
// as well): nothing that runs under it can leave this machine.
//
// Connections to other hosts than loopback are refused, names other than localhost do not
// resolve, datagrams go nowhere. The exception: the names in LOOP_HOSTS (comma-separated) are led
// to 127.0.0.1:LOOP_PORT. They first resolve to an address that looks public, because OpenClaw
// (2026.6.1) refuses names that resolve to a private one. TLS is left as it is: the certificate
// must be good for the name, by NODE_EXTRA_CA_CERTS.
//
// LOOP_LOG names a file that gets one JSON line for every redirected or refused attempt.
'use strict';

const dgram = require('node:dgram');
const dns = require('node:dns');
const fs = require('node:fs');
const { syncBuiltinESMExports } = require('node:module');
const net = require('node:net');

const PUBLIC_LOOKING = '11.22.33.44';
const port = Number(process.env.LOOP_PORT || 0);
const hosts = new Set(port ? (process.env.LOOP_HOSTS || '').split(',').filter(Boolean) : []);

const plain = (host) => String(host ?? '').toLowerCase().replace(/\.$/, '').replace(/^\[(.*)\]$/, '$1');
const isRedirected = (host) => hosts.has(plain(host)) || (port !== 0 && plain(host) === PUBLIC_LOOKING);
const isLoopback = (host) => {
  const name = plain(host);
  return (
    ['', 'localhost', '::', '::1', '0.0.0.0'].includes(name) ||
    name.endsWith('.localhost') ||
    /^(::ffff:)?127\.\d+\.\d+\.\d+$/.test(name)
  );
};

function note(event) {
  if (!process.env.LOOP_LOG) return;
  try {
    fs.appendFileSync(process.env.LOOP_LOG, `${JSON.stringify({ pid: process.pid, ...event })}\n`);
  } catch {
    // A log that cannot be written must not change what the program under test sees.
  }
}

function refusal(what, host, code) {
  note({ refused: what, host: String(host) });
  return Object.assign(new Error(`${what} ${code} ${host} (loopback only)`), { code, syscall: what, hostname: host });
}

// Names: the redirected ones look public, loopback and literal addresses are answered as ever.
const realLookup = dns.lookup;
const realPromisedLookup = dns.promises.lookup;
const answer = (options) => {
  const found = { address: PUBLIC_LOOKING, family: 4 };
  return options && options.all ? [found] : found;
};

dns.lookup = function lookup(host, options, callback) {
  if (typeof options === 'function') return dns.lookup(host, {}, options);
  if (isRedirected(host)) {
    const found = answer(options);
    process.nextTick(() => (Array.isArray(found) ? callback(null, found) : callback(null, found.address, found.family)));
    return {};
  }
  if (isLoopback(host) || net.isIP(plain(host))) return realLookup.call(dns, host, options, callback);
  process.nextTick(callback, refusal('getaddrinfo', host, 'ENOTFOUND'));
  return {};
};

dns.promises.lookup = async function lookup(host, options) {
  if (isRedirected(host)) return answer(options);
  if (isLoopback(host) || net.isIP(plain(host))) return realPromisedLookup.call(dns.promises, host, options);
  throw refusal('getaddrinfo', host, 'ENOTFOUND');
};

for (const holder of [dns, dns.Resolver.prototype]) {
  for (const name of queries(holder)) {
    holder[name] = (host, ...rest) => process.nextTick(rest.at(-1), refusal('query', host, 'ENOTFOUND'));
  }
}
for (const holder of [dns.promises, dns.promises.Resolver.prototype]) {
  for (const name of queries(holder)) {
    holder[name] = async (host) => {
      throw refusal('query', host, 'ENOTFOUND');
    };
  }
}
function queries(holder) {
  return Object.getOwnPropertyNames(holder).filter((name) => /^(resolve|reverse)/.test(name));
}

// Connections: every client of Node, undici included, ends in this method.
const realConnect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function connect(...args) {
  const normalized = Array.isArray(args[0]); // how Node itself passes [options, callback]
  const inner = normalized ? args[0] : args;
  const first = inner[0];
  const isPath = typeof first === 'string' && !/^\d+$/.test(first);
  const options = first && typeof first === 'object' ? first : { port: first, host: typeof inner[1] === 'string' ? inner[1] : '' };
  const host = options.host || options.hostname;
  if (isPath || options.path || isLoopback(host)) return realConnect.apply(this, args);
  if (!isRedirected(host)) {
    const error = refusal('connect', host, 'ECONNREFUSED');
    process.nextTick(() => this.destroy(error));
    return this;
  }
  note({ redirected: String(host), port: options.port });
  const target = { ...options, host: '127.0.0.1', port };
  for (const key of ['hostname', 'lookup', 'localAddress', 'family']) delete target[key];
  inner[0] = target;
  return normalized ? realConnect.call(this, inner, ...args.slice(1)) : realConnect.apply(this, args);
};

for (const name of ['connect', 'send']) {
  const real = dgram.Socket.prototype[name];
  dgram.Socket.prototype[name] = function limited(...args) {
    const host = args.find((arg, index) => index > 0 && typeof arg === 'string');
    if (isLoopback(host)) return real.apply(this, args);
    const error = refusal('datagram', host, 'ENETUNREACH');
    const callback = args.at(-1);
    process.nextTick(() => (typeof callback === 'function' ? callback(error) : this.emit('error', error)));
    return undefined;
  };
}

syncBuiltinESMExports();
