// Package journal is the engine of publish/subscribe: one log, many cursors.
package journal
