// Package live proves the rules: its tests perform what the examples of our rules tell, for real and on the kernel that runs,
// and see whether the rules fire. It has no code but tests.
package live
