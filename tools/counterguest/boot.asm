# The counter guest: a boot sector that is the whole guest. It runs in real mode
# on the BIOS, whose virtio-blk driver does not negotiate a flush command, so that
# QEMU makes every write durable before it is done (as with fsync after each).
# README.md has the layout of the disk and of the lines it prints.
	.code16
	.globl	_start

	.set	COM1, 0x3f8
	.set	PM1_STATUS, 0x600	# where SeaBIOS puts the ACPI registers
	.set	PM1_ENABLE, 0x602
	.set	PM1_CONTROL, 0x604
	.set	POWER_BUTTON, 0x100	# bit of status and enable
	.set	SLEEP_S5, 0x2000	# "sleep now", type 0: off
	.set	BLOCK, 0x8000		# the 4 KiB block in memory
	.set	PAUSE, 20000		# between two writes, microseconds

_start:
	ljmp	$0, $begin
begin:	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$_start, %sp
	sti
	cld
	movb	%dl, drive

	movw	$COM1+3, %dx		# 115200 baud, 8n1, FIFO on
	movb	$0x80, %al
	outb	%al, %dx
	movw	$COM1, %dx
	movw	$1, %ax
	outb	%al, %dx
	incw	%dx
	movb	%ah, %al
	outb	%al, %dx
	movw	$COM1+3, %dx
	movb	$3, %al
	outb	%al, %dx
	decw	%dx
	movb	$7, %al
	outb	%al, %dx

	movw	$PM1_ENABLE, %dx
	inw	%dx, %ax
	orw	$POWER_BUTTON, %ax
	outw	%ax, %dx

again:	movb	$0x42, %ah		# extended read
	call	disk
	jc	again
	movw	$BLOCK, %di		# a disk never counted on starts at 0
	movw	$magic, %si
	movw	$8, %cx
	repe	cmpsb
	je	known
	movw	$BLOCK, %di
	movw	$2048, %cx
	xorw	%ax, %ax
	rep	stosw
	movw	$BLOCK, %di
	movw	$magic, %si
	movw	$8, %cx
	rep	movsb
known:	movw	$resume, %si
	call	line

next:	incl	BLOCK+8
write:	movw	$0x4300, %ax		# extended write, no verify
	call	disk
	jnc	done
	movw	$failed, %si
	call	line
	jmp	write
done:	movw	$count, %si
	call	line

	movb	$0x86, %ah		# wait CX:DX microseconds
	movw	$PAUSE >> 16, %cx
	movw	$PAUSE & 0xffff, %dx
	int	$0x15

	movw	$PM1_STATUS, %dx
	inw	%dx, %ax
	testw	$POWER_BUTTON, %ax
	jz	next
	movw	$off, %si
	call	line
	movw	$PM1_CONTROL, %dx
	movw	$SLEEP_S5, %ax
	outw	%ax, %dx
	hlt

disk:	movb	drive, %dl
	movw	$packet, %si
	int	$0x13
	ret

# line prints the string at SI and the counter.
line:	lodsb
	testb	%al, %al
	jz	number
	call	putc
	jmp	line
number:	movl	BLOCK+8, %eax
	movl	$10, %ebx
	xorw	%cx, %cx
1:	xorl	%edx, %edx
	divl	%ebx
	pushw	%dx
	incw	%cx
	testl	%eax, %eax
	jnz	1b
2:	popw	%ax
	addb	$'0', %al
	call	putc
	loop	2b
	movb	$'\r', %al
	call	putc
	movb	$'\n', %al
putc:	movb	%al, %ah
	movw	$COM1+5, %dx
3:	inb	%dx, %al
	testb	$0x20, %al
	jz	3b
	movb	%ah, %al
	movw	$COM1, %dx
	outb	%al, %dx
	ret

packet:	.byte	16, 0
	.word	8			# sectors
	.word	BLOCK, 0		# offset, segment
	.quad	8			# first sector
magic:	.ascii	"BFCOUNT1"
resume:	.asciz	"counter guest resumes at "
count:	.asciz	"counter "
failed:	.asciz	"write failed "
off:	.asciz	"power off at "
drive:	.byte	0

	.org	446			# one partition, so that the disk looks like one
	.byte	0x80, 0, 9, 0, 0xda, 0, 0, 0
	.long	8, 2040
	.org	510
	.word	0xaa55
