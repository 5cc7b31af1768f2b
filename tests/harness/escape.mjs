// Tries every way out of the machine that the releases use, and the one way that is led back.
// The last line of stdout is {"<way>": "<error code>" or "reached <what>"}.

import dgram from 'node:dgram';
import dns, { lookup } from 'node:dns/promises';
import http from 'node:http';
import net from 'node:net';

const local = http.createServer((request, response) => response.end(`local ${request.headers.host}`));
await new Promise((resolve) => local.listen(0, '127.0.0.1', resolve));
const { port } = local.address();

const outcome = async (attempt) => {
  try {
    return `reached ${await attempt}`;
  } catch (error) {
    return error.cause?.code ?? error.code ?? String(error);
  }
};
const connected = (...args) =>
  new Promise((resolve, reject) => {
    const socket = net.connect(...args, () => resolve(socket.remoteAddress) || socket.destroy());
    socket.on('error', reject);
  });
const sent = new Promise((resolve, reject) => {
  const socket = dgram.createSocket('udp4');
  socket.send('x', 53, '192.0.2.1', (error) => {
    socket.close();
    if (error) reject(error);
    else resolve('192.0.2.1');
  });
});

const outcomes = {
  'fetch by name': await outcome(fetch('https://example.com/')),
  'fetch by address': await outcome(fetch('http://192.0.2.1/')),
  'connect with options': await outcome(connected({ host: '192.0.2.1', port: 80 })),
  'connect with port and host': await outcome(connected(80, '192.0.2.1')),
  'connect to IPv6': await outcome(connected({ host: '2001:db8::1', port: 80 })),
  lookup: await outcome(lookup('example.com')),
  resolve: await outcome(dns.resolve4('example.com')),
  datagram: await outcome(sent),
  'loopback by address': await outcome(connected({ host: '127.0.0.1', port })),
  'loopback by port': await outcome(connected(port)),
  'loopback by name': await outcome(fetch(`http://localhost:${port}/`).then((answer) => answer.text()).then(() => 'it')),
};
console.log(JSON.stringify(outcomes));
process.exit(0);
