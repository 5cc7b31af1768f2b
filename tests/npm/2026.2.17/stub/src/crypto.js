'use strict';
exports.calculateMAC = undefined;
exports.decrypt = undefined;
exports.deriveSecrets = undefined;
exports.encrypt = undefined;
