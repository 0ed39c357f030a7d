//go:build soak

package main

import "testing"

func TestSoakFloodOfHits(t *testing.T) { flood(t, 1_000_000) }
