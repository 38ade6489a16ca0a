#include "textflag.h"

// func gettime()
//
// It stands in for clock_gettime of the vDSO, with the calling convention of C: the
// clock is in DI, where to write in SI. The system's clock, number 0, it moves by
// offset seconds.
TEXT ·gettime(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $228, AX // SYS_clock_gettime
	SYSCALL
	CMPL DI, $0
	JNE  done
	MOVQ ·offset(SB), DX
	ADDQ DX, 0(SI)

done:
	RET

// func addressOfGettime() uintptr
TEXT ·addressOfGettime(SB), NOSPLIT, $0-8
	LEAQ ·gettime(SB), AX
	MOVQ AX, ret+0(FP)
	RET
