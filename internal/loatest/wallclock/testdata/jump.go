package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// jump is by how many seconds the clock is wrong. Whoever started the process writes it into the
// file that the variable names.
var jump = func() *int64 {
	right := new(int64)
	name, ok := syscall.Getenv("LOA_TEST_CLOCK")
	if !ok {
		return right
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("open the clock: " + err.Error())
	}
	defer syscall.Close(fd)
	page, err := syscall.Mmap(fd, 0, int(unsafe.Sizeof(*right)), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("map the clock: " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&page[0]))
}()

func jumped() int64 { return atomic.LoadInt64(jump) }
