// Package sluice holds nothing but the tests that look at the whole tree: the floors of its packages and its house rules.
package sluice
