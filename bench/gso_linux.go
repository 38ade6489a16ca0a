package main

import "syscall"

// kernelSegmentsUDP reports whether the kernel knows UDP_SEGMENT (Linux 4.18).
func kernelSegmentsUDP() bool {
	// udpSegment is UDP_SEGMENT in linux/udp.h.
	const udpSegment = 103
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer syscall.Close(fd)
	_, err = syscall.GetsockoptInt(fd, syscall.IPPROTO_UDP, udpSegment)
	return err == nil
}
