// Package smalldisk runs tests on a disk that is really small, so that it can be filled.
package smalldisk
