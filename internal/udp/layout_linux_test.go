package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// word is the size of a pointer in bytes. The variables below check the layout of the kernel's struct mmsghdr
// and of the structs in it: array types that differ do not compile. `GOARCH=386 go vet` and the like check
// other machines.
const word = unsafe.Sizeof(uintptr(0))

var (
	// The size is the step of the kernel's array.
	_ [8 * word]byte = [unsafe.Sizeof(mmsghdr{})]byte{}
	_ [7 * word]byte = [unsafe.Offsetof(mmsghdr{}.n)]byte{}
	_ [0 * word]byte = [unsafe.Offsetof(unix.Msghdr{}.Name)]byte{}
	_ [1 * word]byte = [unsafe.Offsetof(unix.Msghdr{}.Namelen)]byte{}
	_ [2 * word]byte = [unsafe.Offsetof(unix.Msghdr{}.Iov)]byte{}
	_ [3 * word]byte = [unsafe.Offsetof(unix.Msghdr{}.Iovlen)]byte{}
	_ [4 * word]byte = [unsafe.Offsetof(unix.Msghdr{}.Control)]byte{}
	_ [5 * word]byte = [unsafe.Offsetof(unix.Msghdr{}.Controllen)]byte{}
	_ [6 * word]byte = [unsafe.Offsetof(unix.Msghdr{}.Flags)]byte{}
	_ [word]byte     = [unsafe.Sizeof(unix.Msghdr{}.Iovlen)]byte{}
	_ [word]byte     = [unsafe.Sizeof(unix.Msghdr{}.Controllen)]byte{}
	_ [2 * word]byte = [unsafe.Sizeof(unix.Iovec{})]byte{}
	_ [28]byte       = [unsafe.Sizeof(sockaddr{})]byte{} // struct sockaddr_in6
	_ [2]byte        = [unsafe.Offsetof(unix.RawSockaddrInet4{}.Port)]byte{}
	_ [2]byte        = [unsafe.Offsetof(unix.RawSockaddrInet6{}.Port)]byte{}
	_ [4]byte        = [unsafe.Offsetof(unix.RawSockaddrInet4{}.Addr)]byte{}
	_ [8]byte        = [unsafe.Offsetof(unix.RawSockaddrInet6{}.Addr)]byte{}
	_ [24]byte       = [unsafe.Offsetof(unix.RawSockaddrInet6{}.Scope_id)]byte{}
)
