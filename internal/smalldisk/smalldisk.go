// Package smalldisk runs tests on a real small file system, so that they can fill it.
package smalldisk
