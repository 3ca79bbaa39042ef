"""How anything is trained, mapped over devices and differentiated; it knows no job."""
