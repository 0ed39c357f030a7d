package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// elfModule is the smallest object file that has a .modinfo section.
func elfModule(info string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	head := uint64(binary.Size(elf.Header64{}))
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: head, Size: uint64(len(info))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: head + uint64(len(info)), Size: uint64(len(names))},
	}
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: head + uint64(len(info)+len(names)), Ehsize: uint16(head),
		Shentsize: uint16(binary.Size(elf.Section64{})), Shnum: uint16(len(sections)), Shstrndx: 2,
	}
	copy(header.Ident[:], elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}))
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, header)
	b.WriteString(info + names)
	binary.Write(&b, binary.LittleEndian, sections)
	return b.Bytes()
}
