// Stands in for the git dependency of the WhatsApp channel, which no test uses.
'use strict';
