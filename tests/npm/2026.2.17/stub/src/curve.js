'use strict';
exports.calculateSignature = undefined;
exports.generateKeyPair = undefined;
exports.verifySignature = undefined;
