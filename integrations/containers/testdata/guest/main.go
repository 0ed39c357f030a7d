// The guest is the only program of the test image: it lives as long as its argument says, or until it is told to stop.
package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	var end <-chan time.Time
	if len(os.Args) > 1 {
		life, err := time.ParseDuration(os.Args[1])
		if err != nil {
			os.Exit(2)
		}
		end = time.After(life)
	}
	select {
	case <-stop:
	case <-end:
	}
}
