//go:build !linux

package main

func kernelSegmentsUDP() bool { return false }
